"""From what a user calls a data set to the data set."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from residuum import runs
from residuum.console import say
from residuum.data.cache import Progress
from residuum.data.contract import USUAL_COLUMNS, ColumnNames, ImageData
from residuum.data.digits import digits
from residuum.data.folder import class_folders, open_folder
from residuum.data.hub import SHORT_NAMES, HubName, fetch, fetched_folder, hub_name
from residuum.data.picture_files import (
    existing_folder,
    is_picture,
    is_text_table,
    passed_over,
    pictures_below,
    say_passed_over,
)
from residuum.data.remote import is_address
from residuum.data.shard_files import data_root, place_of, shards_and_tables, suffix_of_shards
from residuum.errors import UserError, listed, nearest
from residuum.machine import cache_folder
from residuum.plain_data import quoted


def open_data(
    source: str,
    fetch_allowed: bool = True,
    progress: Progress | None = None,
    columns: ColumnNames = USUAL_COLUMNS,
    *,
    judging: bool = False,
    recorded: bool = False,
) -> ImageData:
    """Open "digits", a folder of pictures, with a table or without, or of Parquet files, a table beside its pictures,
    or a data set of the hub, fetched if need be.

    A hub's data set has a short name ("cifar10") or its own ("owner/name[:config]"). A folder that exists
    goes before any other meaning; "digits" only where it holds pictures and is no run. `progress` counts the bytes of
    a fetch. `columns` says which of a table to read.
    `judging`: there need be no training split, nor more than one class. `recorded`: a run wrote the source down, of
    which folders' are absolute.

    Raises:
        UserError: there is nothing of that name, or it is not a data set, or it cannot be fetched.
    """
    source = source.removeprefix("file://") or source
    if is_address(source):
        return _open_shards(source, columns, judging=judging)
    if source == "digits" and (recorded or not _is_folder_meant(Path(source))):
        _refuse_columns("digits", columns)
        return digits()
    if _is_here(source):
        return _open_local(Path(source), columns, judging=judging)
    if is_text_table(source):
        raise _no_table(Path(source))
    wanted = hub_name(source)
    if wanted is None and Path(source).name != source:
        existing_folder(source)  # a path to nothing: it says what is there instead
    if wanted is None:
        known = nearest(source, ["digits", *SHORT_NAMES])
        mend = f"check the folder's path; of data sets, {known}"
        raise UserError(f"there is no folder or data set {source!r}", f"seen from {Path.cwd()}", mend)
    folder = fetched_folder(source)
    if folder is None:
        _refuse_fetch(source, wanted, fetch_allowed)
        folder = fetch(source, progress=progress)
    own_name = "-".join(filter(None, [wanted.repository.split("/")[1], wanted.configuration]))
    name = source if source in SHORT_NAMES else own_name
    return replace(_open_local(folder, columns, judging=judging), name=name, source=str(wanted))


def _no_table(path: Path) -> UserError:
    """Return the error for a table that is not there, which names those beside it."""
    beside = [one.name for one in sorted(path.parent.iterdir()) if is_text_table(one)] if path.parent.is_dir() else []
    mend = nearest(path.name, beside) if beside else "check the path: no table lies in that folder"
    return UserError(f"there is no table {path}", f"seen from {Path.cwd()}", mend)


def _is_folder_meant(path: Path) -> bool:
    """Say whether the bare name of the built-in digits means a folder here, and tell the person where there is one."""
    if not _is_here(str(path)):
        return False
    is_run = runs.is_run(path) or runs.is_only_begun(path)
    meant = path.is_dir() and not is_run and bool(pictures_below(path) or suffix_of_shards(path))
    if meant:
        say(f"note: {path} is taken for the folder here, not for the built-in digits")
    else:
        held = "is a run" if is_run else "holds no pictures"
        say(f"note: {path} is taken for the built-in digits, as what is called so here {held} (./{path} means it)")
    return meant


def _is_here(source: str) -> bool:
    try:
        return source != "" and Path(source).exists()
    except (OSError, ValueError):
        return False


def _open_local(path: Path, columns: ColumnNames, *, judging: bool) -> ImageData:
    """Open Parquet files if the folder holds any, else pictures: as a table tells what they show, else by folders."""
    if path.is_file() and is_text_table(path):
        _refuse_cache_within(existing_folder(path.parent))
        return _open_texts(path, columns, judging=judging)
    root = existing_folder(path)
    _refuse_cache_within(root)
    shards, tables = shards_and_tables(root)
    if shards == ".parquet":
        return _open_tables(path, columns, judging=judging)
    if tables and shards is None and (data := _by_text_table(root, tables, columns, judging=judging)) is not None:
        return data
    _refuse_columns(str(root), columns)
    if shards == ".tar" and not pictures_below(root):  # tars beside pictures are other things
        return _open_tars(path, judging=judging)
    other = passed_over(root)
    say_passed_over(other)  # first: it may be why there is no data set
    return replace(open_folder(path, judging=judging), passed_over=tuple(other))


def _open_tables(path: Path, columns: ColumnNames, *, judging: bool) -> ImageData:
    from residuum.data.tables import open_parquet

    try:
        return open_parquet(path, columns, judging=judging)
    except UserError as error:
        if not any(map(is_picture, path.glob("*/*"))):
            raise
        mend = f"{error.mend}; or, if the folders of pictures beside it are the data, move the table elsewhere"
        raise UserError(error.what, error.why, mend.removeprefix("; or, ")) from error


def _by_text_table(root: Path, tables: list[Path], columns: ColumnNames, *, judging: bool) -> ImageData | None:
    """Open pictures by the tables of texts in their folder; None where folders tell the classes.

    Where columns are told, a table is meant; and where neither it nor the folders do, it is what is to be mended.
    """
    names = listed([table.relative_to(root).as_posix() for table in tables], 3)
    if columns == USUAL_COLUMNS and (count := class_folders(root)) > 1:
        say(f"note: {names} beside the folders of classes: not read; if meant, give that file")
        return None
    try:
        data = _open_texts(root, columns, judging=judging)
        # a run goes on with the table it began with, whatever is put beside it later
        is_alone = len(tables) == 1 and tables[0].parent == root and not judging
        return replace(data, source=place_of(tables[0])) if is_alone else data
    except UserError as error:
        if columns == USUAL_COLUMNS and judging and count:
            with suppress(UserError):
                data = replace(open_folder(root, judging=judging), passed_over=tuple(other := passed_over(root)))
                why = f"does not tell what they show ({error.what})"
                say(f"note: {names} beside the pictures {why}: folders are classes")
                say_passed_over(other)
                return data
        raise


def _open_texts(path: Path, columns: ColumnNames, *, judging: bool) -> ImageData:
    from residuum.data.tables import open_texts

    data = open_texts(path, columns, judging=judging)
    say_passed_over(data.passed_over)
    return data


def _open_tars(path: str | Path, *, judging: bool) -> ImageData:
    from residuum.data.tars import open_tars  # pyarrow takes a while, and digits do not need it

    return open_tars(path, judging=judging)


def _open_shards(address: str, columns: ColumnNames, *, judging: bool) -> ImageData:
    """Open what lies at an address: Parquet files if there are any, else tar shards."""
    from residuum.data.tables import open_parquet

    shards = suffix_of_shards(data_root(address))
    if shards == ".parquet":
        return open_parquet(address, columns, judging=judging)
    if shards == ".tar":
        _refuse_columns(address, columns)
        return _open_tars(address, judging=judging)
    raise UserError(
        f"there are no shards at {address}", "elsewhere Parquet files and tar shards are read", "see residuum data pack"
    )


def _refuse_columns(place: str, columns: ColumnNames) -> None:
    if columns != USUAL_COLUMNS:
        mend = "leave --image-column, --label-column and --label-separator out"
        raise UserError(f"{place} has no columns to choose from", "it holds no table", mend)


def _refuse_cache_within(root: Path) -> None:
    """Nothing is ever written below the pictures, be it in a hidden folder (UserError)."""
    cache = cache_folder().resolve()
    if cache.is_relative_to(root):
        raise UserError(
            f"the cache {cache} lies within the pictures in {root}",
            "nothing is ever written there",
            "give a folder that holds nothing but pictures, or set RESIDUUM_CACHE to a folder outside it",
        )


def _refuse_fetch(source: str, wanted: HubName, fetch_allowed: bool) -> None:
    if source not in SHORT_NAMES and Path(source).parent.is_dir():
        raise UserError(
            f"there is no folder {Path(source).absolute()}",
            f"{Path(source).parent} is there, so this is taken for a path and not for a name on the hub",
            f"check the path; for the hub's data set, first run `residuum data fetch {quoted(wanted)}`",
        )
    if not fetch_allowed:
        how = f"run `residuum data fetch {quoted(source)}`"
        mend = f"{how}, or give a folder: one of its Parquet files from elsewhere will do"
        raise UserError(f"{source} is not on this machine", "", mend)
