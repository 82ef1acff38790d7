"""What lesion and trim say of a net, of the pictures it was measured on, and of how these were shown."""

from residuum import machine
from residuum.console import say
from residuum.data.contract import Split
from residuum.data.labels import counts
from residuum.evaluation.evaluate import computed_in, protocol
from residuum.evaluation.opening import NetWithData
from residuum.files import Json
from residuum.models.count import cost
from residuum.models.named import NAMED_NETS
from residuum.models.spec import NetSpec
from residuum.records.depth import FEW


def measured_on(opened: NetWithData, split: Split) -> Json:
    """Return what a report says of the net, the pictures and how they were shown."""
    how, data, spec = opened.classifier.preprocessing, opened.data, opened.classifier.spec
    kind = {"shortcut": spec.shortcut, "order": spec.order, "activation": spec.activation}
    return {
        "model": {
            "name": net_name(spec),
            **kind,
            "blocks": list(spec.blocks),
            **cost(spec, how.image_size),
        },
        "data": {
            "name": data.name,
            "split": opened.validation_split,
            "images": len(split),
            "fingerprint": opened.fingerprint,
            "validation_from": opened.cut.origin if opened.cut else "the data's own validation split",
            "commonest": float(counts(split.labels, 0).max() / len(split)),
            **({"may_be_learnt": True} if opened.same is None and opened.cut else {}),
            **({"several": True} if data.several else {}),
        },
        "protocol": computed_in(protocol(how, how.views), opened.compute.precision),
        "environment": machine.environment(),
    }


def say_if_few(images: int) -> None:
    """Say what one picture counts where there are few to judge by."""
    if images < FEW:
        say(f"few pictures to judge by: each of the {images} is {100 / images:.2f} points of accuracy")


def net_name(spec: NetSpec) -> str:
    """Return the name of the net of this shape, or one made of its depth where it has none."""
    prefix = "plain" if spec.shortcut == "none" else "resnet"
    alike = (name for name, known in NAMED_NETS.items() if _shape(known) == _shape(spec))
    return next(alike, f"{prefix}{spec.depth}")


def _shape(spec: NetSpec) -> tuple[object, ...]:
    """What a name stands for; shortcut options, say, are choices within it."""
    size = (spec.stem, spec.block, spec.blocks, spec.widths, spec.stem_channels, spec.out_channels)
    return (*size, spec.order, spec.groups, spec.squeeze, spec.shortcut == "none")
