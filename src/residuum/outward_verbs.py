"""The verbs that take a model in or out of residuum, or serve it; see verbs.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum import outward_printing, printing
from residuum.outward_settings import (
    BenchSettings,
    CardSettings,
    ExportSettings,
    ExportWeightsSettings,
    FetchWeightsSettings,
    ImportSettings,
    ListWeightsSettings,
    PublishSettings,
    ServeSettings,
    ShowSettings,
)
from residuum.verb import packages_of, refuse_taken, stopped_by_signals, verb

if TYPE_CHECKING:
    from residuum.exchange.export_weights import Exported
    from residuum.exchange.import_weights import Imported
    from residuum.exporting.export import ExportedModel
    from residuum.publishing.publish import Published
    from residuum.records.engines import EngineChoice
    from residuum.records.weights import Fetched


@verb(ServeSettings, lambda _settings, _result, _json: None, announced=True)
def serve(settings: ServeSettings) -> None:
    """Answer over HTTP, many at once, until SIGTERM or Ctrl-C; the log goes to stdout, a line of JSON a request.

    Examples: residuum serve RUN    residuum serve RUN OTHER=RUN2 --port 0
    """
    with stopped_by_signals():
        with packages_of("serve"):
            from residuum.serving.run import serve as serve_models
        serve_models(settings)


@verb(ShowSettings, lambda _settings, _result, _json: None, announced=True)
def show(settings: ShowSettings) -> None:
    """Open a page in the browser that answers pictures, with blocks to switch off by a click, until Ctrl-C.

    Examples: residuum show RUN    residuum show model.safetensors --port 0
    """
    with stopped_by_signals():
        with packages_of("show"):
            from residuum.serving.show import show as show_model
        show_model(settings)


@verb(BenchSettings, outward_printing.print_bench, announced=True)
def bench(settings: BenchSettings) -> EngineChoice:
    """Time each engine that is installed on a model, here, and remember which is fastest: it answers from now on.

    An engine is chosen only if its answers to real pictures agree with the run's own, which torch gives in float32; one
    that changes answers by more than rounding (bfloat16, int8) only if you allow it.
    """
    from residuum.exporting.bench import bench as bench_model

    return bench_model(settings)


@verb(ExportSettings, outward_printing.print_export, announced=True)
def export(settings: ExportSettings) -> ExportedModel:
    """Write a model for other programs: pictures of any size in, probabilities and features out, and what uses it.

    Its answers to real pictures are compared with the run's own; it is kept only if they agree.

    Examples: residuum export RUN --to onnx    residuum export RUN --to openvino --int8
    """
    refuse_taken(settings.out)
    with stopped_by_signals():  # so that nothing half written is left
        from residuum.exporting.export import export as export_model

        return export_model(settings)


@verb(ImportSettings, outward_printing.print_imported, name="import")
def import_weights(settings: ImportSettings) -> Imported:
    """Turn other people's weights into a model file: torchvision, timm, transformers, CIFAR checkpoints.

    Examples: residuum import resnet20.th    residuum import torchvision:resnet50    residuum import hf:OWNER/NAME
    """
    from residuum.exchange.import_weights import import_weights as import_file

    return import_file(settings)


@verb(ExportWeightsSettings, outward_printing.print_exported)
def export_weights(settings: ExportWeightsSettings) -> Exported:
    """Write a model's weights under torchvision's or timm's names, as safetensors."""
    from residuum.exchange.export_weights import export_weights as export_file

    return export_file(settings)


@verb(CardSettings, printing.prints_path("card", "card     {}"))
def card(settings: CardSettings) -> Path:
    """Write a model card beside a run or model: figures, data, limits, lineage, licence; the Hugging Face hub reads it.

    What you write into it is kept.
    """
    from residuum.publishing.card import write_card

    return write_card(settings)


@verb(PublishSettings, outward_printing.print_published)
def publish(settings: PublishSettings) -> Published:
    """Send a model with its card to the Hugging Face hub, and check what lies there; a new repository is private.

    Examples: residuum publish RUN OWNER/NAME --dry-run    residuum publish RUN OWNER/NAME --licence apache-2.0
    """
    from residuum.publishing.publish import publish as publish_model

    return publish_model(settings)


@verb(ListWeightsSettings, outward_printing.print_weights, name="weights list")
def weights_list(settings: ListWeightsSettings) -> list[dict[str, Any]]:
    """List trained weights by name: size, licence, published accuracy, checksum, and which are on this machine."""
    from residuum.weights.listing import listing

    return listing(here=settings.here)


@verb(FetchWeightsSettings, outward_printing.print_fetched, name="weights fetch")
def weights_fetch(settings: FetchWeightsSettings) -> Fetched:
    """Fetch trained weights by name, check and import them, for `residuum train PHOTOS` to start from.

    Examples: residuum weights fetch resnet50    residuum weights fetch resnet18 --from /media/usb
    """
    from residuum.exchange.fetch_weights import fetch_weights

    return fetch_weights(settings)
