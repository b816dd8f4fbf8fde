"""The training configuration: every key with its type, range, default and help, stated once.

The command line's options and the YAML file's keys are generated from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict

from marginface import backbones, losses
from marginface.backbones.parts import Tuning
from marginface.backend import default_backend
from marginface.checks import check_shares
from marginface.data.augmentation import PRESETS, expand_presets
from marginface.devices import Precision as BackbonePrecision
from marginface.devices import device_name
from marginface.errors import MarginfaceError, unknown_name
from marginface.heads import Precision, Sampling
from marginface.learner import Group, LearnerSpec
from marginface.losses import MarginLoss
from marginface.losses.tensor_code import check_runs_in
from marginface.model import (
    CROP,
    ModelSpec,
    Preprocessing,
    Resizing,
    Triple,
    whole_numbers,
)
from marginface.optimizers import OPTIMIZERS, SGD, AdamW, Optimizer
from marginface.other_names import KEYS as OTHER_KEYS
from marginface.training.best import split_metric
from marginface.training.config.recipes import RECIPES
from marginface.training.config.values import (
    channels_of,
    factors_by_part,
    height_and_width,
    how_to_resize,
    name_value_pairs,
    not_empty,
    one_line,
    one_of,
    one_or_several,
    refuse_truth,
    split_all_commas,
    split_names,
    split_steps,
)
from marginface.training.schedules import SCHEDULES, Schedule

Mean = Annotated[Triple, channels_of("mean")]
Std = Annotated[Triple, channels_of("std")]
Location = Annotated[Path, BeforeValidator(not_empty)]
# In the file, too, one set is its path, not a list of one.
TrainingSets = Annotated[
    tuple[Location, ...],
    BeforeValidator(one_or_several),
    PlainSerializer(lambda paths: [*map(str, paths)] if len(paths) > 1 else str(paths[0])),
    Field(min_length=1),
]
Pixels = Annotated[int, Field(ge=1)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(height_and_width)]
Crop = Annotated[
    tuple[int, int, int, int] | None,
    BeforeValidator(lambda value: None if value is None else whole_numbers("crop", value, CROP)),
]
ResizeKey = Annotated[Literal[False] | Resizing, BeforeValidator(how_to_resize)]
Locations = Annotated[tuple[Path, ...], BeforeValidator(split_all_commas)]
# A run records the operations of a preset at its start, and goes on with these.
Augmentations = Annotated[
    tuple[str, ...], BeforeValidator(split_names), AfterValidator(expand_presets)
]
Steps = Annotated[tuple[int, ...], BeforeValidator(split_steps)]
Parameters = Annotated[dict[str, Any], BeforeValidator(name_value_pairs)]

Factors = Annotated[dict[str, float], BeforeValidator(factors_by_part)]
Parts = Annotated[tuple[str, ...], BeforeValidator(split_names)]

Channels = Annotated[Literal["rgb", "bgr"], one_of("channels", "rgb", "bgr")]
OptimizerName = Annotated[Literal["sgd", "adamw"], one_of("optimizer", "sgd", "adamw")]
ScheduleName = Annotated[Literal["polynomial", "cosine", "step"], one_of("schedule", *SCHEDULES)]
InitHead = Annotated[
    Literal["random", "run", "centers"], one_of("init_head", "random", "run", "centers")
]
Compile = Annotated[Literal["auto", "on", "off"], one_of("compile", "auto", "on", "off")]
SamplingName = Annotated[Sampling, one_of("sampling", *get_args(Sampling))]
Device = Annotated[str, BeforeValidator(device_name)]
BackbonePrecisionName = Annotated[
    BackbonePrecision, one_of("precision", *get_args(BackbonePrecision))
]
PrecisionName = Annotated[Precision, one_of("head_precision", *get_args(Precision))]

# Keys of one optimizer or schedule only, with their defaults there.
OPTIMIZER_KEYS: dict[str, dict[str, Any]] = {
    "sgd": {"weight_decay": SGD().weight_decay, "momentum": SGD().momentum},
    "adamw": {"weight_decay": AdamW().weight_decay},
}
SCHEDULE_KEYS: dict[str, dict[str, Any]] = {
    "polynomial": {"power": 1.0},
    "cosine": {},
    "step": {"milestones": (), "gamma": 0.1},
}


# What keys were called before; files and command lines may still say so.
OLD_NAMES = {"init_weights": "init"}

INIT_HELP = "Start from a run, a checkpoint or a file of weights."
INIT_HEAD_HELP = (
    "First class weights: new, of the same people in init, or people's mean embeddings."
)
PARTIAL_HELP = "Take what fits of init, by name and shape; the rest is new."
CROP_HELP = "Part of each image that the network sees: top,left,height,width; sets input-size, too."
RESIZE_HELP = (
    "Scale images of another size: fit (cut off what juts out), letterbox (black borders), squeeze."
)
DECAY_HELP = (
    f"Weight decay; default: {SGD().weight_decay} for sgd, {AdamW().weight_decay} for adamw."
)
WARMUP_HELP = "Warm-up as a share of the run's steps, instead; 0 to 1."
RATE_HELP = "Share of the identities that each step looks at."
SAMPLING_HELP = (
    "How a sample is used, if sample-rate is below 1: partial_fc (default) or corrected."
)
FILTER_HELP = "Cosines with other identities above this count as 0: likely one person, named twice."
PRECISION_HELP = (
    "Precision of the head's matrix products: full, bfloat16 or float16 (faster on GPUs)."
)
FREEZE_HELP = "Parts of the backbone that do not learn, comma-separated: stem,layer1; or backbone."
UNFREEZE_HELP = "Step from which the frozen parts learn; default: never."
FACTOR_HELP = "Factors on the learning rate of parts: backbone=0.1,head=1."
LAYER_DECAY_HELP = "Factor on the learning rate for each part further from the head."
STATISTICS_HELP = "Let every BatchNorm normalise by the statistics of init, which do not move."
DEVICE_HELP = "What computes: auto (a GPU, where the framework sees one), cpu, cuda, cuda:1 or mps."
BACKBONE_PRECISION_HELP = (
    "Precision of the backbone: full, tf32, bfloat16 or float16 (with a scaled loss)."
)
ACCUMULATION_HELP = (
    "Micro-batches that the backbone computes one after the other; the head sees all of batch-size."
)
RECOMPUTE_HELP = "Keep little of the forward pass and compute it again: less memory, more time."
DETERMINISTIC_HELP = "The same bits from run to run on a GPU, too; slower there."
PROCESSES_HELP = "Processes on this machine that share each step and the identities."
THREADS_HELP = "CPU threads of each process; default: the framework's choice, or an equal share."
BACKEND_HELP = "Framework: torch or tf; default: the one that is installed, torch if both are."
DATA_HELP = "Training images: a folder of identities, .rec or .tfrecord; repeat for more sets."
JOIN_HELP = "Treat a name that occurs in several sets as one identity."
VAL_HELP = (
    "Verification sets: .bin, container, CFP's Split/FP, or a list of pairs with --images; "
    "separate several by commas, or repeat the option."
)
AUGMENT_HELP = f"Augmentations, comma-separated, or a preset: {', '.join(PRESETS)}; '' for none."
SKIP_HELP = "Skip and count images that are unreadable or of another size, and pairs that miss one."
REBUILD_HELP = "Write the .idx of a .rec again if it is missing or stale."
MAX_STEPS_BETWEEN_CHECKPOINTS = 2000
REFUSE_HELP = (
    "If the newest checkpoint is damaged, refuse to resume; otherwise the one before it is used."
)
PEOPLE_HELP = "Balanced batches: people in a step; batch-size is this times images-per-person."
IMAGES_HELP = "Balanced batches: images of each person in a step."
KEEP_BEST_HELP = (
    "Keep the checkpoint with the best metric beside the newest: accuracy (of the first "
    "verification set), auc, eer, tar@1e-3..., or SET:METRIC."
)
STOP_AFTER_HELP = "End the run after so many verifications without a better one; with keep-best."
CHECKPOINT_HELP = (
    f"Steps between checkpoints; default: each epoch, at most {MAX_STEPS_BETWEEN_CHECKPOINTS}."
)


def key(panel: str, help_text: str, default: Any = ..., **limits: Any) -> Any:
    """Declare a key: the group it is shown in, its help, its default and its range."""
    extra: JsonDict = {"panel": panel}
    return Field(default, description=help_text, json_schema_extra=extra, **limits)


class TrainConfig(BaseModel):
    """Everything that decides a training run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backend: str = key("Run", BACKEND_HELP, None)
    data: TrainingSets = key("Run", DATA_HELP)
    output: Location = key("Run", "Run folder to create.")
    recipe: str | None = key("Run", f"Preset to start from: {', '.join(RECIPES)}.", None)
    seed: int = key(
        "Run", "Seed of weights, data order and all else that is random.", 0, ge=0, lt=2**32
    )

    loss: str = key("Loss", f"One of {', '.join(losses.names())}; or module:Class.", "arcface")
    scale: float | None = key("Loss", "Scale s of the logits; default: the loss's.", None)
    margin: float | None = key("Loss", "Margin m, radians for angles; default: the loss's.", None)
    loss_parameters: Parameters = key(
        "Loss", "Other parameters of the loss: name=value,name=value.", {}
    )
    num_classes: int | None = key(
        "Loss", "Number of identities that the data must have.", None, ge=2
    )
    sample_rate: float = key("Loss", RATE_HELP, 1.0, gt=0, le=1)
    sampling: SamplingName | None = key("Loss", SAMPLING_HELP, None)
    interclass_filter: float | None = key("Loss", FILTER_HELP, None, gt=0, lt=1)

    backbone: str = key("Model", f"One of {', '.join(backbones.names())}.", "iresnet50")
    embedding_size: int = key("Model", "Length of an embedding.", 512, ge=1, le=65_536)
    input_size: Size = key("Model", "Height and width of images, in pixels.", (112, 112))
    crop: Crop = key("Model", CROP_HELP, None)
    dropout: float = key(
        "Model", "Share of the features dropped before the embedding layer.", 0.0, ge=0, lt=1
    )
    mean: Mean = key("Model", "Subtracted from pixels (0..255); one number or three.", (127.5,) * 3)
    std: Std = key("Model", "Divides pixels after the mean; one number or three.", (127.5,) * 3)
    channels: Channels = key("Model", "Channel order that the network sees: rgb or bgr.", "rgb")

    epochs: int | None = key(
        "Length", "Passes over the data; default: 20, or none with max-steps.", None, ge=1
    )
    max_steps: int | None = key(
        "Length", "Number of steps; with epochs, whichever ends first.", None, ge=1
    )
    batch_size: int = key("Length", "Images in a step.", 128, ge=2)
    people_per_batch: int | None = key("Length", PEOPLE_HELP, None, ge=1)
    images_per_person: int | None = key("Length", IMAGES_HELP, None, ge=1)

    lr: float = key("Optimizer", "Highest learning rate.", 0.1, gt=0)
    optimizer: OptimizerName = key("Optimizer", "sgd or adamw.", "sgd")
    momentum: float | None = key("Optimizer", "Momentum of sgd; default: 0.9.", None, ge=0, lt=1)
    weight_decay: float | None = key("Optimizer", DECAY_HELP, None, ge=0)
    decay_norm_and_bias: bool = key(
        "Optimizer", "Apply weight decay to norms, PReLU and biases, too.", True
    )
    clip_norm: float = key(
        "Optimizer", "Clip the backbone's gradient to this norm; 0: never.", 5.0, ge=0
    )
    schedule: ScheduleName = key(
        "Optimizer", "Course of the rate: polynomial, cosine or step.", "polynomial"
    )
    power: float | None = key("Optimizer", "Power of the polynomial; default: 1.", None, gt=0)
    milestones: Steps | None = key("Optimizer", "Steps at which the step schedule decays.", None)
    gamma: float | None = key(
        "Optimizer", "Factor at each milestone; default: 0.1.", None, gt=0, le=1
    )
    warmup_steps: int = key("Optimizer", "Steps of linear warm-up.", 0, ge=0)
    warmup_share: float | None = key("Optimizer", WARMUP_HELP, None, ge=0, lt=1)

    init: Annotated[Path | None, BeforeValidator(not_empty)] = key("Fine-tuning", INIT_HELP, None)
    init_head: InitHead = key("Fine-tuning", INIT_HEAD_HELP, "random")
    init_partial: bool = key("Fine-tuning", PARTIAL_HELP, False)
    freeze: Parts = key("Fine-tuning", FREEZE_HELP, ())
    unfreeze_at: int | None = key("Fine-tuning", UNFREEZE_HELP, None, ge=1)
    lr_factor: Factors = key("Fine-tuning", FACTOR_HELP, {})
    layer_decay: float = key("Fine-tuning", LAYER_DECAY_HELP, 1.0, gt=0, le=1)
    frozen_statistics: bool = key("Fine-tuning", STATISTICS_HELP, False)

    join_identities: bool = key("Data", JOIN_HELP, False)
    augment: Augmentations = key("Data", AUGMENT_HELP, ("flip",))
    resize: ResizeKey = key("Data", RESIZE_HELP, False)
    skip_bad: bool = key("Data", SKIP_HELP, False)
    rebuild_index: bool = key("Data", REBUILD_HELP, False)
    loader_threads: int = key("Data", "Threads that read images.", 2, ge=1)

    val: Locations = key("Verification", VAL_HELP, ())
    val_images: Path | None = key(
        "Verification", "Images that the lists of pairs name: folder, .rec or .tfrecord.", None
    )
    val_pairs: Path | None = key("Verification", "A list of pairs, such as LFW's.", None)
    val_every: int | None = key(
        "Verification", "Steps between verifications; default: each epoch.", None, ge=1
    )

    checkpoint_every: int | None = key("Records", CHECKPOINT_HELP, None, ge=1)
    keep_checkpoints: int = key("Records", "Checkpoints to keep; older ones are deleted.", 3, ge=1)
    keep_best: str | None = key("Records", KEEP_BEST_HELP, None)
    stop_after: int | None = key("Records", STOP_AFTER_HELP, None, ge=1)
    refuse_damaged: bool = key("Records", REFUSE_HELP, False)
    log_every: int = key("Records", "Steps between lines of metrics.", 10, ge=1)

    device: Device = key("Speed", DEVICE_HELP, "auto")
    precision: BackbonePrecisionName = key("Speed", BACKBONE_PRECISION_HELP, "full")
    head_precision: PrecisionName = key("Speed", PRECISION_HELP, "full")
    accumulation: int = key("Speed", ACCUMULATION_HELP, 1, ge=1)
    recompute: bool = key("Speed", RECOMPUTE_HELP, False)
    deterministic: bool = key("Speed", DETERMINISTIC_HELP, False)
    processes: int = key("Speed", PROCESSES_HELP, 1, ge=1)
    threads: int | None = key("Speed", THREADS_HELP, None, ge=1)
    compile: Compile = key(
        "Speed", "Compile the model: auto (if it saves time), on or off.", "auto"
    )

    def __init__(self, **values: Any) -> None:
        """Validate `values`; every complaint is one line in a MarginfaceError."""
        values = renamed(values)
        check_keys(values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise MarginfaceError(one_line(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Set defaults that depend on other keys: the recorded configuration is complete."""
        values = dict(values)
        for name, value in values.items():
            check_truth(name, value)
        if values.get("backend") is None:
            values["backend"] = default_backend()
        values.update(_loss_keys(values))
        for choice, table, default in (
            ("optimizer", OPTIMIZER_KEYS, "sgd"),
            ("schedule", SCHEDULE_KEYS, "polynomial"),
        ):
            for name, value in table.get(str(values.get(choice, default)), {}).items():
                if values.get(name) is None:
                    values[name] = value
        if values.get("input_size") is None and values.get("crop") is not None:
            values["input_size"] = whole_numbers("crop", values["crop"], CROP)[2:]
        if values.get("epochs") is None and values.get("max_steps") is None:
            values["epochs"] = 20
        people, images = values.get("people_per_batch"), values.get("images_per_person")
        if values.get("batch_size") is None and people is not None and images is not None:
            with suppress(TypeError, ValueError):
                values["batch_size"] = int(people) * int(images)
        with suppress(TypeError, ValueError):  # the field's own type check has the message
            if values.get("sampling") is None and float(values.get("sample_rate", 1)) < 1:
                values["sampling"] = "partial_fc"
        return values

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        """Refuse keys that the rest of the configuration would ignore."""
        for choice, table in (("optimizer", OPTIMIZER_KEYS), ("schedule", SCHEDULE_KEYS)):
            chosen = getattr(self, choice)
            for owner, keys in table.items():
                for name in keys:
                    if name not in table[chosen] and getattr(self, name) is not None:
                        raise MarginfaceError(
                            f"{name} has no effect with {choice} {chosen}; "
                            f"leave it out or choose {choice} {owner}"
                        )
        if self.schedule == "step" and not self.milestones:
            raise MarginfaceError("schedule step needs milestones, such as --milestones 1000,2000")
        if self.warmup_share is not None and self.warmup_steps:
            raise MarginfaceError(
                f"warmup_steps {self.warmup_steps} and warmup_share {self.warmup_share:g} both say "
                "how long the warm-up is; give one of them"
            )
        if self.join_identities and len(self.data) == 1:
            raise MarginfaceError(
                "join_identities has no effect with one set of training images; leave it out or "
                "give several sets as data"
            )
        if self.init is None and (self.init_head != "random" or self.init_partial):
            key = "init_partial" if self.init_partial else f"init_head {self.init_head}"
            raise MarginfaceError(
                f"{key} has no effect without weights to start from; give --init, or leave it out"
            )
        if self.frozen_statistics and (self.init is None or self.init_partial):
            mend = "leave init_partial out" if self.init else "give --init"
            raise MarginfaceError(
                "frozen_statistics needs weights that bring the statistics of every BatchNorm; "
                f"{mend}, or leave frozen_statistics out"
            )
        if self.sampling is not None and self.sample_rate == 1:
            raise MarginfaceError(
                "sampling has no effect with sample_rate 1; leave it out or choose a rate below 1"
            )
        self._check_balance()
        check_shares(self.batch_size, self.processes, self.accumulation)
        if self.batch_size == self.accumulation and not self.frozen_statistics:
            raise MarginfaceError(
                f"accumulation {self.accumulation} of batch_size {self.batch_size} leaves one "
                "image in a micro-batch, which has no statistics for BatchNorm; take at most "
                f"{self.batch_size // 2}, or frozen_statistics"
            )
        if self.processes > 1 and (":" in self.device or self.device == "mps"):
            of_their_own = "give device cuda" if ":" in self.device else "Apple's is one; give cpu"
            raise MarginfaceError(
                f"device {self.device} does not go with processes {self.processes}, each of which "
                f"has a GPU of its own; {of_their_own}"
            )
        if self.recompute and self.compile == "on":
            raise MarginfaceError(
                "compile on does not go with recompute, whose passes stay as they are; choose one"
            )
        if self.val_pairs is not None and self.val_images is None:
            raise MarginfaceError("val_pairs is given without val_images; give both or neither")
        if self.val_images is not None and self.val_pairs is None and not self.val:
            raise MarginfaceError("val_images is given without val_pairs; give both or neither")
        if self.val_every is not None and not self.verifies():
            raise MarginfaceError(
                "val_every has no effect without val_images and val_pairs, or val"
            )
        if self.keep_best is not None:
            split_metric(self.keep_best)
            if not self.verifies():
                raise MarginfaceError(
                    f"keep_best {self.keep_best} needs a verification set; give val, or val_images "
                    "and val_pairs"
                )
        elif self.stop_after is not None:
            raise MarginfaceError(
                f"stop_after {self.stop_after} needs the metric that is to become better; give "
                "keep_best, such as --keep-best accuracy"
            )
        self.make_loss().check_filter(self.interclass_filter)
        check_runs_in(self.loss, self.backend)
        self.make_optimizer()
        self.tuning()
        self.make_schedule(total_steps=1)
        self.image_size()
        return self

    def image_size(self) -> tuple[int, int] | None:
        """Return the (height, width) of images before the crop; None where any that it fits do."""
        return self.model_spec().preprocessing.image_size(self.input_size)

    def _check_balance(self) -> None:
        """Refuse balanced batches whose numbers do not make up the batch."""
        people, images = self.people_per_batch, self.images_per_person
        if (people is None) != (images is None):
            given, lacking = "people_per_batch", "images_per_person"
            if people is None:
                given, lacking = lacking, given
            raise MarginfaceError(f"{given} is given without {lacking}; give both or neither")
        if people is not None and images is not None and people * images != self.batch_size:
            raise MarginfaceError(
                f"batch_size is {self.batch_size}, but people_per_batch {people} x "
                f"images_per_person {images} is {people * images}; leave batch_size out, or make "
                "them agree"
            )

    def verifies(self) -> bool:
        """Return whether the run has a verification set."""
        return bool(self.val) or self.val_pairs is not None

    def make_loss(self) -> MarginLoss:
        """Return the loss with its parameters."""
        keys = {"scale": self.scale, "margin": self.margin}
        shorthands = {name: value for name, value in keys.items() if value is not None}
        return losses.get(self.loss, **self.loss_parameters, **shorthands)

    def make_optimizer(self) -> Optimizer:
        """Return the optimizer with its hyperparameters."""
        hyperparameters = {name: getattr(self, name) for name in OPTIMIZER_KEYS[self.optimizer]}
        return OPTIMIZERS[self.optimizer](
            decay_norm_and_bias=self.decay_norm_and_bias,
            clip_norm=self.clip_norm or None,
            **hyperparameters,
        )

    def tuning(self) -> Tuning:
        """Return what rests, and the rates of the parts."""
        return Tuning(
            freeze=self.freeze,
            unfreeze_at=self.unfreeze_at,
            lr_factor=self.lr_factor,
            layer_decay=self.layer_decay,
            frozen_statistics=self.frozen_statistics,
        )

    def make_schedule(self, total_steps: int) -> Schedule:
        """Return the learning rate as a function of the step."""
        shape = {name: getattr(self, name) for name in SCHEDULE_KEYS[self.schedule]}
        return Schedule(
            kind=self.schedule,
            lr=self.lr,
            total_steps=total_steps,
            warmup_steps=self._warmup(total_steps),
            **shape,
        )

    def _warmup(self, total_steps: int) -> int:
        """Return the steps of warm-up; a share leaves at least one step at the full rate."""
        if self.warmup_share is None:
            return self.warmup_steps
        return min(round(self.warmup_share * total_steps), total_steps - 1)

    def model_spec(self) -> ModelSpec:
        """Return the description of the model, without its weights."""
        return ModelSpec(
            backbone=self.backbone,
            embedding_size=self.embedding_size,
            input_size=self.input_size,
            dropout=self.dropout,
            preprocessing=Preprocessing(
                mean=self.mean,
                std=self.std,
                channels=self.channels,
                crop=self.crop,
                resize=self.resize or None,
            ),
        )

    def learner_spec(self, num_classes: int, *, group: Group, threads: int | None) -> LearnerSpec:
        """Return the specification of the run's learner, which is given images after the crop.

        Args:
            num_classes: identities of the training images.
            group: the run's processes.
            threads: CPU threads of this one; None for the framework's default.
        """
        model = self.model_spec()
        return LearnerSpec(
            replace(model, preprocessing=replace(model.preprocessing, crop=None)),
            self.make_loss(),
            num_classes,
            self.make_optimizer(),
            self.seed,
            threads=threads,
            group=group,
            sample_rate=self.sample_rate,
            sampling=self.sampling or "partial_fc",
            head_precision=self.head_precision,
            interclass_filter=self.interclass_filter,
            tuning=self.tuning(),
            device=self.device,
            precision=self.precision,
            deterministic=self.deterministic,
            accumulation=self.accumulation,
            recompute=self.recompute,
        )

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the length of the run: epochs or max_steps, whichever ends first."""
        limits = [self.max_steps, self.epochs and self.epochs * steps_per_epoch]
        return min(limit for limit in limits if limit is not None)


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys under the names that they have now.

    Raises:
        MarginfaceError: a key is given under both its names.
    """
    named = {name: value for name, value in values.items() if name not in OLD_NAMES}
    for old, new in OLD_NAMES.items():
        if values.get(old) is not None and named.get(new) is not None:
            raise MarginfaceError(f"{new} is given twice: {old} is its old name; leave that out")
        if old in values:
            named[new] = values[old] if named.get(new) is None else named[new]
    return named


def check_keys(values: Mapping[str, Any]) -> None:
    """Raise for a key that the configuration does not have; the message names the nearest one."""
    for name in values:
        if name not in TrainConfig.model_fields:
            raise unknown_name(
                "config key",
                str(name),
                TrainConfig.model_fields,
                OTHER_KEYS,
                listed_by="marginface train --help",
            )


def check_truth(name: str, value: Any) -> None:
    """Raise if a key that is a number is given as true or false."""
    kinds = get_args(annotation := TrainConfig.model_fields[name].annotation) or (annotation,)
    if bool not in kinds and not {int, float}.isdisjoint(kinds):
        refuse_truth(name, value)


def _loss_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return scale, margin and loss_parameters, completed with the loss's defaults."""
    parameters = name_value_pairs(values.get("loss_parameters") or {})
    if not isinstance(parameters, dict):
        return {}  # the field's own type check has the message
    shorthands = {
        name: values[name] for name in ("scale", "margin") if values.get(name) is not None
    }
    for name, value in shorthands.items():
        if name in parameters:
            raise MarginfaceError(
                f"{name} is given twice: {name} {value} and loss_parameters "
                f"{name}={parameters[name]}"
            )
    complete = {**losses.parameters(str(values.get("loss", "arcface"))), **parameters, **shorthands}
    return {
        "scale": complete.pop("scale", None),
        "margin": complete.pop("margin", None),
        "loss_parameters": complete,
    }
