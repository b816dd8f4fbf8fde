"""`import marginface as mf`: what its functions do, and that they are the commands."""

import inspect

import numpy as np
import pytest
from fresh import python
from packing_faces import write_faces
from PIL import Image
from small_training import PEOPLE, small
from tiny_model import save_model

import marginface as mf
from marginface.api.evaluate import EvaluationResults
from marginface.api.models import Model
from marginface.api.train import SHORT_NAMES, config_keys
from marginface.calling import FLAGS
from marginface.cli.embed import embed as embed_command
from marginface.cli.evaluate import evaluate as evaluate_command
from marginface.cli.export import export as export_command
from marginface.cli.train import train as train_command
from marginface.model import resize_choice
from marginface.runs.checkpoints import list_checkpoints
from marginface.training.config.files import resolve_config
from marginface.training.config.keys import TrainConfig


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("api") / "faces", PEOPLE, side=112)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("api") / "tiny.onnx")


def defaults(function):
    return {each.name: each.default for each in inspect.signature(function).parameters.values()}


@pytest.mark.parametrize(
    ("function", "command"),
    [
        (mf.embed, embed_command),
        (mf.evaluate, evaluate_command),
        (mf.export, export_command),
    ],
)
def test_a_function_has_the_options_and_defaults_of_its_command(function, command):
    of_function = defaults(function)
    if function is mf.export:
        assert of_function.pop("run") is None  # another name for `model`, as the command's --run
    of_command = defaults(command)
    if function is mf.embed:  # it stands behind `images`, which photos do without
        assert of_function.pop("output") is None
        del of_command["output"]
    if "resize" in of_command:  # a flag or a word, as typed
        of_command["resize"] = resize_choice(of_command["resize"])
    assert of_function == of_command


def test_train_has_the_options_and_defaults_of_its_command():
    added = {"callbacks": (), **dict.fromkeys(SHORT_NAMES)}
    assert defaults(mf.train) == defaults(train_command) | added


def test_flags_are_known_by_name():
    flags = {name for name, each in TrainConfig.model_fields.items() if each.annotation is bool}
    offered = (getattr(mf, name) for name in mf.__all__)
    for function in (*filter(inspect.isroutine, offered), mf.Recogniser, Model.embed):
        flags |= {name for name, value in defaults(function).items() if isinstance(value, bool)}
    assert flags == FLAGS


def test_a_loaded_model_embeds_arrays_paths_and_pictures_alike(faces, model):
    paths = sorted(faces.rglob("*.png"))[:3]
    pictures = [Image.open(path) for path in paths]
    loaded = mf.load(model)
    by_path = loaded.embed(paths)
    assert by_path.shape == (3, loaded.embedding_size)
    np.testing.assert_array_equal(loaded.embed(pictures), by_path)
    np.testing.assert_array_equal(loaded.embed(np.stack(pictures)), by_path)
    np.testing.assert_array_equal(loaded.embed(str(paths[0])), by_path[:1])
    np.testing.assert_array_equal(loaded.embed(path for path in paths), by_path)
    assert loaded.embed([]).shape == (0, 12)
    assert "112x112 to 12 numbers" in repr(loaded)
    assert not np.array_equal(mf.load(model, mean=100, std=(1, 2, 3)).embed(paths), by_path)


@pytest.mark.parametrize(("module", "make"), [("torch", "tensor"), ("tensorflow", "constant")])
def test_tensors_are_embedded_as_arrays_are(model, module, make):
    tensor = getattr(pytest.importorskip(module), make)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    loaded = mf.load(model)
    expected = loaded.embed(pixels)
    np.testing.assert_array_equal(loaded.embed(tensor(pixels)), expected)
    np.testing.assert_array_equal(loaded.embed([tensor(each) for each in pixels]), expected)
    np.testing.assert_array_equal(loaded.embed(tensor(pixels[1])), expected[1:])
    with pytest.raises(mf.MarginfaceError, match=r"float32 \(112, 112, 3\)"):
        loaded.embed(tensor(pixels / np.float32(255)))


def test_a_tensor_elsewhere_says_how_to_bring_it(model):
    torch = pytest.importorskip("torch")
    with pytest.raises(mf.MarginfaceError, match=r"no array: .*requires grad.*detach"):
        mf.load(model).embed(torch.zeros((112, 112, 3), requires_grad=True))


def test_options_of_embed_hold_for_every_kind_of_image(model, tmp_path):
    loaded = mf.load(model)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 112, 3), dtype=np.uint8)
    resized = loaded.embed(pixels, resize=True)  # more than one batch
    for at in (0, 63, 64, 69):
        np.testing.assert_array_equal(loaded.embed(pixels[at], resize=True), resized[at : at + 1])
    Image.fromarray(pixels[0]).save(path := tmp_path / "one.png")
    np.testing.assert_array_equal(loaded.embed(path, resize=True), resized[:1])
    flipped = resized[:1] + loaded.embed(pixels[0, :, ::-1], resize=True)
    np.testing.assert_allclose(loaded.embed(path, resize=True, flip=True), flipped, rtol=1e-5)


def test_embeddings_are_written(faces, model, tmp_path):
    summary = mf.embed(str(model), faces, tmp_path / "out.npz", mean=127.5, crop=(0, 0, 112, 112))
    assert (summary.embedded, summary.embedding_size) == (16, 12)
    assert "16 embeddings of 12 numbers; 0 images skipped" in repr(summary)
    with pytest.raises(mf.MarginfaceError, match="exists"):
        mf.embed(model, faces, tmp_path / "out.npz")


def test_figures_show_themselves(faces, model, tmp_path):
    pairs = tmp_path / "pairs.txt"
    same = [f"ann\t1\t{n}" for n in (2, 3, 4)]
    different = [f"bob\t1\tcid\t{n}" for n in (1, 2, 3)]
    pairs.write_text("\n".join(["1\t3", *same, *different]) + "\n")
    results = mf.evaluate(mf.load(model), pairs=pairs, images=faces)
    assert len(results) == 1
    assert "Verification" in repr(results)
    assert results.plot()._repr_png_().startswith(b"\x89PNG")
    assert repr(results[0]).startswith("Comparison('tiny' on 'pairs': accuracy ")
    assert isinstance(results[:1], EvaluationResults)
    assert repr(results[:1]) == repr(results)
    assert repr(results[:0]).strip() == "Verification of nothing"
    with pytest.raises(mf.MarginfaceError, match="nothing to draw: no results"):
        results[:0].plot()
    assert results.metrics[0]["auc"] == results[0].result.auc
    with pytest.raises(mf.MarginfaceError, match=r"loaded already; give mean to mf\.load"):
        mf.evaluate(mf.load(model), pairs=pairs, images=faces, mean=3)
    html = results._repr_html_()
    assert html.startswith("<table><caption>Verification</caption>")
    assert '<td style="text-align: right; white-space: pre">' in html
    assert 0 <= results[0].result.auc <= 1


def test_training_calls_back_and_its_run_is_a_model(faces, tmp_path):
    seen = []
    loss = mf.losses.ArcFace(margin=0.3, past_pi="none")
    result = mf.train(
        small(faces, tmp_path / "run"), callbacks=[seen.append], max_steps=2, loss=loss
    )
    config = (result.run / "config.yaml").read_text()
    assert "margin: 0.3\n" in config
    assert "past_pi: none\n" in config
    assert (result.step, result.signal) == (2, None)
    assert seen == result.metrics
    assert [record["kind"] for record in seen] == ["train", "train"]
    assert repr(result) == f"TrainResult(run {str(result.run)!r} at step 2)"
    assert 'src="data:image/png;base64,' in result._repr_html_()
    path = mf.export(tmp_path / "model.onnx", run=result.run)
    image = sorted(faces.rglob("*.png"))[0]
    exported, trained = (mf.load(each).embed(image) for each in (path, result.run))
    np.testing.assert_allclose(exported, trained, atol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        mf.SGD(),
        mf.SGD(momentum=0.5, weight_decay=1e-3, decay_norm_and_bias=False),
        mf.AdamW(weight_decay=0.2, clip_norm=None),
    ],
)
def test_an_optimizer_stands_for_its_keys(optimizer):
    keys = config_keys({"optimizer": optimizer, "lr": 0.2})
    config = resolve_config({"recipe": "small-set"}, {"data": "d", "output": "o", **keys})
    assert config.make_optimizer() == optimizer
    assert config.lr == 0.2


def test_an_exception_in_a_callback_ends_a_run_with_a_checkpoint(faces, tmp_path):
    def fail(record):
        if record["step"] == 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        mf.train(**small(faces, tmp_path / "run"), callbacks=[fail])
    assert len(list_checkpoints(tmp_path / "run" / "checkpoints")) == 1
    assert mf.train(output=tmp_path / "run", resume=True).step == 3


def test_an_unknown_key_is_named_with_the_nearest():
    with pytest.raises(mf.MarginfaceError, match="did you mean 'batch_size'"):
        mf.train({"batchsize": 3}, data="x", output="y")


HEAD = "import {module}, marginface as mf; print(type(mf.MarginHead('arcface', 8, 5)).__module__)"


@pytest.mark.parametrize(("module", "package"), [("torch", "torch"), ("tensorflow", "tf")])
def test_a_head_is_of_the_framework_that_is_imported(module, package):
    pytest.importorskip(module)
    assert python(HEAD.format(module=module)).stdout.startswith(f"marginface_{package}.")
