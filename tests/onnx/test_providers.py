"""What ONNX Runtime computes on: chosen, missing, or there in name alone."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from packing_faces import write_faces
from tiny_model import save_model
from tiny_scrfd import save_detector

import marginface as mf
from marginface.api.models import providers as chosen_providers
from marginface.embeddings.embedder import open_embedder
from marginface.errors import MissingPackageError
from marginface.extras import needs, onnx_runtimes
from marginface.onnx import providers
from marginface.onnx.session import open_session

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
OFFERED = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
OF_CPU = ["AzureExecutionProvider", "CPUExecutionProvider"]
# As onnxruntime-gpu 1.31 words it.
NO_GPU = (
    "/src/cuda_call.cc:154 void onnxruntime::CudaCall(int) CUDA failure 100: no CUDA-capable "
    "device is detected ; GPU=-1 ; hostname=secret ; file=/src/cuda.cc ; expr=cudaSetDevice(0);"
)
REPAIR = "run: pip uninstall -y onnxruntime onnxruntime-gpu, then: pip install 'marginface"


class Runtime:
    """ONNX Runtime that offers CUDA, and falls back to the CPU in silence, as the real one does."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.works = False

    def session(self, source: object, options: object, providers: list[str], **rest: int) -> object:
        self.asked.append(providers)
        on_gpu = providers[0] != "CPUExecutionProvider"
        if on_gpu:
            assert rest == {"enable_fallback": 0}  # which would print on standard output
            if self.error is not None:
                raise self.error
        session = Runtime.real(source, options, providers=["CPUExecutionProvider"])
        if on_gpu and self.works:
            session.get_providers = lambda: providers
        return session

    real = ort.InferenceSession


@pytest.fixture
def gpu(monkeypatch) -> Runtime:
    runtime = Runtime()
    monkeypatch.setattr(ort, "get_available_providers", lambda: OFFERED)
    monkeypatch.setattr(ort, "InferenceSession", runtime.session)
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load libcublasLt.so.13"))
    monkeypatch.setattr(ort, "cuda_version", "13.0")
    return runtime


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_model(tmp_path / "m.onnx")


def embedded(model: Path, **how: str) -> np.ndarray:
    return mf.load(model, **how).embed(IMAGES)


def test_providers_have_short_names(monkeypatch) -> None:
    assert list(providers.available_providers()) == ["cpu"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*OFFERED, *OF_CPU])
    assert list(providers.available_providers()) == ["cpu", "cuda", "tensorrt"]


def test_auto_takes_cuda_where_it_works(gpu, tiny, capfd) -> None:
    gpu.works = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedded(tiny)
        embedded(tiny, provider="cuda")
        embedded(tiny, provider="tensorrt")
        embedded(tiny, provider="cpu")
    cuda, cpu = OFFERED[1:]
    assert gpu.asked == [[cuda, cpu], [cuda, cpu], [OFFERED[0], cpu], [cpu]]
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("gpu")
def test_a_choice_that_falls_back_is_refused(tiny, capfd) -> None:
    line = (
        r"ONNX Runtime has the provider cuda but cannot use it: .+; it needs an NVIDIA driver, "
        r"CUDA 13\.0 and cuDNN 9; mend that, or take provider cpu"
    )
    with pytest.raises(mf.MarginfaceError, match=f"^{line}$"):
        embedded(tiny, provider="cuda")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [None, RuntimeError(NO_GPU)])
def test_auto_falls_back_with_a_warning(gpu, tiny, error) -> None:
    gpu.error = error
    with pytest.warns(UserWarning, match="cannot use it: .*; computing on the CPU") as given:
        found = embedded(tiny)
    assert len(given) == 1
    assert "secret" not in str(given[0].message)
    np.testing.assert_array_equal(found, embedded(tiny, provider="cpu"))


def test_cuda_says_its_failure_and_no_more(gpu, tiny) -> None:
    gpu.error = RuntimeError(NO_GPU)
    line = "cannot use it: CUDA failure 100: no CUDA-capable device is detected; mend that, or"
    with pytest.raises(mf.MarginfaceError, match=line):
        embedded(tiny, provider="cuda")


def test_a_damaged_model_is_no_fault_of_the_provider(gpu) -> None:
    for provider in ("auto", "cuda", "cpu"):
        with pytest.raises(mf.MarginfaceError, match="not an ONNX model, or a damaged one"):
            open_session(b"damaged", provider=provider)
    assert len(gpu.asked) == 3


def test_what_export_checks_is_computed_on_the_cpu(gpu, tiny, tmp_path) -> None:
    mf.export(tmp_path / "new.onnx", model=tiny, flip=True)
    assert gpu.asked
    assert {tuple(asked) for asked in gpu.asked} == {("CPUExecutionProvider",)}


def test_the_provider_is_no_part_of_the_fingerprint(gpu, tiny) -> None:
    gpu.works = True
    prints = {open_embedder(tiny, provider=each).fingerprint for each in ("cpu", "cuda")}
    assert len(prints) == 1


def installed(folder: Path, *names: str) -> None:
    for name in names:
        info = folder / f"{name.replace('-', '_')}-9.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n")


def test_two_packages_of_one_module(tiny, tmp_path, monkeypatch) -> None:
    installed(tmp_path / "site", "onnxruntime", "onnxruntime-gpu")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert onnx_runtimes() == ["onnxruntime", "onnxruntime-gpu"]
    both = "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other; "
    with pytest.raises(mf.MarginfaceError, match=f"only cpu: {both}{REPAIR}"):
        embedded(tiny, provider="cuda")
    with pytest.warns(UserWarning, match=f"^computing on the CPU: {both}{REPAIR}"):
        embedded(tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedded(tiny, provider="cpu")


def test_cuda_with_the_package_for_cpus_says_which_to_take(tiny, monkeypatch) -> None:
    monkeypatch.setattr(providers, "onnx_runtimes", lambda: ["onnxruntime"])
    line = "no provider 'cuda', only cpu; for a GPU run: pip uninstall -y onnxruntime, then: pip "
    with pytest.raises(mf.MarginfaceError, match=line + r"install 'marginface\[onnx-gpu\]'"):
        embedded(tiny, provider="cuda")


def test_a_package_that_lost_its_files(tmp_path, monkeypatch) -> None:
    """As pip leaves onnxruntime-gpu when onnxruntime is uninstalled beside it."""
    installed(tmp_path, "onnxruntime-gpu")
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    for name in [each for each in sys.modules if each.startswith("onnxruntime")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    line = "this needs onnxruntime, of which onnxruntime-gpu is installed but not whole"
    with pytest.raises(MissingPackageError, match=f"{line} .*; {REPAIR}"), needs("onnx"):
        from onnxruntime.capi import onnxruntime_pybind11_state  # noqa: F401 - it is the import that fails


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model, a detector, faces, pairs, landmarks."""
    folder = tmp_path_factory.mktemp("providers")
    write_faces(folder / "faces", {"ann": 4, "bob": 4}, side=112)
    save_model(folder / "m.onnx")
    save_detector(folder / "d.onnx")
    pairs = ["1\t2", "ann\t1\t2", "ann\t3\t4", "ann\t1\tbob\t1", "ann\t2\tbob\t2"]
    (folder / "pairs.txt").write_text("\n".join(pairs) + "\n")
    (folder / "points.json").write_text("{}")
    shutil.copytree(folder / "faces", folder / "probes")
    return folder


PAIRS = "--images {0}/faces --pairs {0}/pairs.txt"
FACE = "{0}/faces/ann/ann_0001.png"
COMMANDS = (
    "embed --model {0}/m.onnx --images {0}/faces --output {1}/e.npz",
    "embed --model {0}/m.onnx --photos {0}/faces --detector {0}/d.onnx --output {1}/e.parquet",
    f"evaluate --model {{0}}/m.onnx {PAIRS} --output {{1}}/new",
    f"calibrate --model {{0}}/m.onnx {PAIRS} --output {{1}}/new.onnx",
    f"compare {FACE} {FACE} --model {{0}}/m.onnx --picture {{1}}/p.png",
    "identify --gallery {0}/faces --probes {0}/probes --model {0}/m.onnx --output {1}/new",
    f"report {{0}}/m.onnx {PAIRS} --output {{1}}/new",
    "data align {0}/faces {1}/new --detector {0}/d.onnx",
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_every_command_asks_for_the_provider(command, place, tmp_path, refusal) -> None:
    words = command.format(place, tmp_path).split()
    line = "this ONNX Runtime has no provider 'npu', only cpu; give one of these, or auto"
    assert line in refusal(*words, "--provider", "npu")
    assert not list(tmp_path.iterdir())


UNUSED = {
    "embed --model {0}/run --images {0}/faces --output {1}/e.npz --backend torch": (
        "--provider cpu is ONNX Runtime's, which does not run here; leave it out, or --backend "
        "torch"
    ),
    "identify --embeddings {0}/e.npz --gallery {0}/faces --probes {0}/faces": (
        "--provider does not go with --embeddings"
    ),
    "data align {0}/faces {1}/new --landmarks {0}/points.json": (
        "--provider goes with --detector, not with --landmarks"
    ),
}


@pytest.mark.parametrize("command", UNUSED)
def test_a_provider_for_nothing_is_refused(command, place, tmp_path, refusal) -> None:
    words = command.format(place, tmp_path).split()
    assert UNUSED[command] in refusal(*words, "--provider", "cpu")


def test_a_provider_is_the_detectors_where_a_framework_runs_the_model(place) -> None:
    detector = place / "d.onnx"
    assert chosen_providers("cuda", "run", "torch", detector) == ("auto", "cuda")
    assert chosen_providers("cuda", "run", "torch", None) == ("cuda", "auto")  # refused there
    assert chosen_providers("cuda", "m.onnx", "onnx", detector) == ("cuda", "cuda")


def test_a_loaded_model_has_its_provider(place) -> None:
    loaded, face = mf.load(place / "m.onnx"), IMAGES[0]
    with pytest.raises(mf.MarginfaceError, match=r"loaded already; give provider to mf\.load"):
        mf.compare(face, face, model=loaded, provider="cpu")
    with pytest.raises(mf.MarginfaceError, match=r"opened from files; give it to mf\.load"):
        mf.Recogniser(loaded, provider="cpu")
    for opened in (mf.compare, mf.comparer):
        how = {"model": loaded, "detector": place / "d.onnx", "provider": "npu"}
        arguments = (face, face) if opened is mf.compare else ()
        with pytest.raises(mf.MarginfaceError, match="no provider 'npu'"):  # the detector's
            opened(*arguments, **how)
    with pytest.raises(mf.MarginfaceError, match="no provider 'npu'"):
        mf.Recogniser(place / "m.onnx", provider="npu")
