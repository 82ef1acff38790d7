"""Pickled types that may lie beside weights: settings, dates, paths, numbers. They are read as opaque, and no code of
theirs is run: torch's weights-only reader is given one of the classes here under each of their names.
"""

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

from torch.serialization import safe_globals


class Opaque:
    """Stands for a value that nobody looks at."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Mapping:
    """Stands for a dict of another name: what it holds may be weights."""

    def __new__(cls, *_: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _Sequence:
    """Stands for a list of another name."""

    def __new__(cls, *_: Any) -> list[Any]:  # type: ignore[misc]
        return []


_MAPPINGS = """
collections.defaultdict easydict.EasyDict yacs.config.CfgNode fvcore.common.config.CfgNode addict.addict.Dict
mmcv.utils.config.ConfigDict mmengine.config.config.ConfigDict detectron2.config.config.CfgNode munch.Munch
pytorch_lightning.utilities.parsing.AttributeDict lightning.pytorch.utilities.parsing.AttributeDict
lightning_fabric.utilities.data.AttributeDict lightning.fabric.utilities.data.AttributeDict
lightning_utilities.core.apply_func.AttributeDict box.box.Box transformers.utils.generic.ModelOutput
"""
_VALUES = """
argparse.Namespace types.SimpleNamespace builtins.frozenset builtins.slice builtins.range builtins.object
builtins.list builtins.dict builtins.tuple builtins.int builtins.float builtins.str builtins.bool builtins.bytes
datetime.datetime datetime.date datetime.time datetime.timedelta datetime.timezone zoneinfo.ZoneInfo._unpickle
decimal.Decimal fractions.Fraction uuid.UUID uuid.SafeUUID time.struct_time copyreg._reconstructor pathlib.Path
pathlib.PurePath pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath pathlib.PureWindowsPath
pathlib._local.Path pathlib._local.PurePath pathlib._local.PosixPath pathlib._local.WindowsPath
pathlib._local.PurePosixPath pathlib._local.PureWindowsPath numpy.dtype numpy.ndarray numpy.core.multiarray.scalar
numpy._core.multiarray.scalar numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct
numpy._core.numeric._frombuffer numpy.core.numeric._frombuffer numpy.bool_ numpy.float16 numpy.float32 numpy.float64
numpy.int8 numpy.int16 numpy.int32 numpy.int64 numpy.uint8 numpy.uint16 numpy.uint32 numpy.uint64 numpy.str_
numpy.bool numpy.str numpy.random._pickle.__randomstate_ctor numpy.random._pickle.__generator_ctor
numpy.random._pickle.__bit_generator_ctor numpy.random._mt19937.MT19937 numpy.random._pcg64.PCG64
omegaconf.dictconfig.DictConfig omegaconf.listconfig.ListConfig omegaconf.base.ContainerMetadata
omegaconf.base.Metadata omegaconf.base.SCMode omegaconf.nodes.AnyNode omegaconf.nodes.StringNode
omegaconf.nodes.IntegerNode omegaconf.nodes.FloatNode omegaconf.nodes.BooleanNode omegaconf.nodes.EnumNode
omegaconf.nodes.PathNode omegaconf.nodes.BytesNode omegaconf.nodes.InterpolationResultNode typing.Any typing.Union
typing.List typing.Dict typing.Optional ml_collections.config_dict.config_dict.ConfigDict
mmengine.logging.history_buffer.HistoryBuffer mmengine.config.config.Config mmcv.utils.config.Config
torch.torch_version.TorchVersion torch.Generator torch.optim.swa_utils.SWALR
pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint pytorch_lightning.callbacks.early_stopping.EarlyStopping
pytorch_lightning.trainer.states.TrainerFn lightning.pytorch.trainer.states.TrainerFn
transformers.training_args.TrainingArguments transformers.trainer_utils.IntervalStrategy
transformers.trainer_utils.SchedulerType transformers.trainer_utils.HubStrategy
transformers.training_args.OptimizerNames accelerate.utils.dataclasses.DistributedType
"""
_STANDING = {Opaque: _VALUES, _Mapping: _MAPPINGS, _Sequence: "collections.deque"}
INERT = {name: kind for kind, names in _STANDING.items() for name in names.split()}
"""What stands for each type, by the name that a pickle calls it."""


def inert_types(*more: str) -> AbstractContextManager[None]:
    """Let torch's weights-only reader pass over the types above, and those named."""
    table = {**dict.fromkeys(more, Opaque), **INERT}
    return safe_globals([(kind, name) for name, kind in table.items()])
