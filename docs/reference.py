"""Writes what the reference pages say of commands, Python and files, from the code: `python docs/reference.py`.

A page has `<!-- reference: commands -->` … `<!-- /reference -->`, in both languages; what stands between is replaced,
so that it can be read in the repository as on the site. tests/test_reference.py holds the pages to the code.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "src"))

import residuum  # noqa: E402
from residuum import chinese, choices, plain_data, runs  # noqa: E402
from residuum.cli import VERBS  # noqa: E402
from residuum.plain_data import Range, Settings, by_place, flag, group_of  # noqa: E402

PACKAGE = Path(residuum.__file__).parent
PAGES = [DOCS / room / "reference" / f"{name}.md" for room in ("", "zh") for name in ("commands", "python", "files")]
PART = re.compile(r"(<!-- reference: (\S+) -->\n).*?(<!-- /reference -->)", re.DOTALL)
ALIASES = {value: name for name, value in vars(choices).items() if get_args(value)}
"""Choices by their names: a signature says Device, not each of its values."""
PLACES = {plain_data.Place, plain_data.DataPlace}
WIDTH = 90

Say = Callable[[str], str]
Found = tuple[str, str, str]
"""A name, its type with its default, and what is said of it."""


def said_in(language: str) -> Say:
    """Return what says an English text in a language."""
    return chinese.said if language == "zh" else str


# --- commands -----------------------------------------------------------------------------------


def commands(say: Say) -> str:
    """Return, for every verb, what it does and all that it can be told."""
    return "\n\n".join(_verb(verb, say) for verb in VERBS)


def _verb(verb: Any, say: Say) -> str:
    given = [flag(field.name)[2:].upper() for field in by_place(verb.settings) if field.kw_only is not True]
    named = any(field.kw_only is True for field in fields(verb.settings))
    call = " ".join(["residuum", verb.name, *(f"[{name}]" for name in given), *["[OPTIONS]"] * named])
    about, examples = _told(verb.run)
    parts = [f"## residuum {verb.name}", f"`{call}`", *(_text(_heard(one, say)) for one in about)]
    if examples:
        parts.append(_word("Examples: ", say) + ", ".join(f"`{one}`" for one in examples))
    return "\n\n".join([*parts, *_tables(verb.settings, say)])


def _told(function: Any) -> tuple[list[str], list[str]]:
    """Return the paragraphs of a docstring, and the commands of its examples."""
    paragraphs = [" ".join(one.split("\n")) for one in (inspect.getdoc(function) or "").split("\n\n")]
    shown = " ".join(one.partition(":")[2] for one in paragraphs if one.startswith("Example"))
    found = [one.strip() for one in re.split(r"\s(?=residuum )", f" {shown}") if one.strip()]
    return [" ".join(one.split()) for one in paragraphs if not one.startswith("Example")], found


def _tables(settings: type[Settings], say: Say) -> Iterator[str]:
    """Yield a table for each group of settings, those of the verb itself first."""
    groups = dict[str, list[tuple[str, ...]]]()
    for field in by_place(settings):
        group = group_of(settings, field.name)
        groups.setdefault(group, []).append(_setting(field, _documented(settings)[field.name], say))
    for group, rows in sorted(groups.items(), key=lambda one: one[0] != ""):
        head = f"**{say(group)}**\n\n" if group else ""
        yield head + _table("setting | takes | by default | meaning", rows, say)


def _setting(field: Any, meaning: str, say: Say) -> tuple[str, ...]:
    name = flag(field.name)
    no = f"--no-{name[2:]}"
    shown = f"`{name}`" if field.kw_only is True else f"`{name[2:].upper()}`"
    if field.type == bool | None or field.default is True:
        shown = f"`{name}`, `{no}`"
    usual = "" if field.default is None or field.default in ((), False) else f"`{field.default}`"
    usual = f"`{name}`" if field.default is True else usual
    return shown, _takes(field.type, say), usual, _heard(meaning, say)


def _heard(text: str, say: Say) -> str:
    """Return what the help says, whose Chinese has no marks of code."""
    return text if say is str else say(text.replace("`", ""))


def _takes(kind: Any, say: Say) -> str:
    """Return what may be given: the names to choose from, or a kind of value with its bounds."""
    kind, limits = _bare(kind)
    inner = [_bare(one)[0] for one in get_args(kind) if one not in (NoneType, ...)]
    if kind in {bool, bool | None}:
        return ""
    names = [one for one in plain_data._options(kind) if isinstance(one, str)]
    if names:
        one = ", ".join(f"`{name}`" for name in names)
    else:
        whole = kind if isinstance(kind, type) and not get_args(kind) else next(iter(inner), str)
        while get_args(whole):
            whole = _bare(get_args(whole)[0])[0]
        words = {int: "a whole number", float: "a number"}
        one = _word(words.get(whole, "text"), say)
        one += f", {limits.low} – {limits.high}" if limits else ""
    several = any(get_origin(part) is tuple for part in (kind, *inner))
    return f"{one} …" if several else one


def _word(english: str, say: Say) -> str:
    """Words of the tables' heads and cells; they stand on these pages alone."""
    words = {
        "Examples: ": "例如：",
        "a whole number": "整数",
        "a number": "数",
        "text": "文本",
        "setting": "参数",
        "takes": "可给",
        "by default": "默认",
        "meaning": "含义",
        "field": "字段",
        "type": "类型",
        "file": "文件",
        "what it holds": "内容",
    }
    return words[english] if say is chinese.said else english


def _bare(kind: Any) -> tuple[Any, Range | None]:
    """Take a type out of its annotation, with the bounds that stand there."""
    if get_origin(kind) is not Annotated:
        return kind, None
    return kind.__origin__, next((one for one in kind.__metadata__ if isinstance(one, Range)), None)


@cache
def _documented(settings: type) -> dict[str, str]:
    """Return what is said of each field, by the texts behind it in the classes that it is composed of."""
    found = dict[str, str]()
    for part in reversed(settings.__mro__):
        if part.__module__.startswith("residuum."):
            found |= {name: doc for name, _, doc in _fields(_node(part))}
    return found


# --- Python -------------------------------------------------------------------------------------


def functions(_: Say) -> str:
    """Return every public function: how it is called, and its docstring."""
    named = {verb.run.__name__: verb.name for verb in VERBS} | {"model_table": "models"}
    return "\n\n".join(_function(name, named.get(name)) for name in residuum.__all__ if name[0].islower())


def _function(name: str, verb: str | None) -> str:
    function = getattr(residuum, name)
    about, _ = _told(function)
    link = [f"[residuum {verb}](commands.md#residuum-{verb.replace(' ', '-')})"] if verb else []
    signature = _signature(f"residuum.{name}", inspect.signature(function))
    docs = _prose(inspect.getdoc(function) or "") if verb is None else [_text(one) for one in about]
    return "\n\n".join([f"### residuum.{name}", f"```text\n{signature}\n```", *docs, *link])


def _signature(name: str, signature: inspect.Signature) -> str:
    """Return a call with its types, broken between parameters."""
    parts, star = list[str](), False
    for one in signature.parameters.values():
        if one.kind is one.VAR_POSITIONAL:
            star = True
        if one.kind is one.KEYWORD_ONLY and not star:
            parts, star = [*parts, "*"], True
        usual = "" if one.default is one.empty else f" = {one.default!r}"
        parts.append(f"{'*' if one.kind is one.VAR_POSITIONAL else ''}{one.name}: {_shown(one.annotation)}{usual}")
    return _filled(name, parts, _shown(signature.return_annotation))


def _filled(name: str, parts: list[str], returned: str) -> str:
    whole = f"{name}({', '.join(parts)}) -> {returned}"
    if len(whole) <= WIDTH:
        return whole
    lines = ["   "]
    for part in parts:
        lines = [*lines, "   "] if len(lines[-1]) + len(part) + 2 > WIDTH and lines[-1].strip() else lines
        lines[-1] += f" {part},"
    return "\n".join([f"{name}(", *lines, f") -> {returned}"])


def _shown(kind: Any) -> str:
    """Return a type as it is written."""
    kind = _bare(kind)[0] if kind not in PLACES else kind
    if isinstance(kind, str):
        return re.sub(r"\b(Data)?Place(OrAddress)?\b", "str | Path", kind)
    if kind in PLACES:
        return "str | Path"
    if get_origin(kind) is tuple:
        return f"tuple[{', '.join('...' if one is ... else _shown(one) for one in get_args(kind))}]"
    if kind in ALIASES:
        return ALIASES[kind]
    if get_args(kind):
        return " | ".join("None" if one is NoneType else _shown(one) for one in get_args(kind))
    return str(kind.__name__)


def classes(_: Say) -> str:
    """Return every public class: its docstring, its fields, its methods."""
    return "\n\n".join(_class(name) for name in residuum.__all__ if name[0].isupper())


def _class(name: str) -> str:
    found = getattr(residuum, name)
    node = _node(found)
    parts = [f"### residuum.{name}", *_prose(inspect.getdoc(found) or "")]
    if issubclass(found, Settings):
        return "\n\n".join([*parts, "[residuum train](commands.md#residuum-train)"])
    methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef) and one.name[0] != "_"}
    kept = {name: one for name, one in methods.items() if _is_property(one)}
    rows = [(f"`{name}`", f"`{kind}`", _text(doc)) for name, kind, doc in _fields(node)]
    rows += [(f"`{name}`", f"`{ast.unparse(one.returns)}`", _first(one)) for name, one in kept.items() if one.returns]
    parts += [_table("field | type | meaning", rows, str)] if rows else []
    return "\n\n".join([*parts, *(_method(one) for name, one in methods.items() if name not in kept)])


def _method(node: ast.FunctionDef) -> str:
    """Return how a method is called, and its docstring; of one that is overloaded, as it takes all."""
    given = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    call = f"{node.name}({given})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")
    return "\n\n".join([f"```text\n{call}\n```", *_prose(ast.get_docstring(node) or "")])


def _is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(one) for one in node.decorator_list)


def _first(node: ast.FunctionDef) -> str:
    return _text(" ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()).removeprefix("Return "))


def _prose(docstring: str) -> list[str]:
    """Return a docstring's paragraphs as Markdown: its parts (Raises, Args) are lists."""
    found = list[str]()
    for paragraph in docstring.split("\n\n"):
        head, _, rest = paragraph.partition("\n")
        if re.fullmatch(r"(Raises|Args|Returns|Yields):", head):
            entries = [" ".join(one.split()) for one in re.split(r"\n(?=    \S)", f"\n{rest}") if one.strip()]
            found.append("\n".join([head, "", *(f"- {_text(one)}" for one in entries)]))
        else:
            found.append(_text(" ".join(paragraph.split())))
    return found


# --- files --------------------------------------------------------------------------------------


def run_folder(say: Say) -> str:
    """Return a table of the files of a run folder, from the docstring of the one module that names them."""
    rows = re.findall(r"^(\S.*?) {2,}(.+)$", runs.__doc__ or "", re.MULTILINE)
    return _table("file | what it holds", [(f"`{file}`", say(what)) for file, what in rows], say)


def records(say: Say) -> str:
    """Return a table of the fields of each type that is written to a file."""
    parts = []
    for path in sorted((PACKAGE / "records").glob("*.py")):
        tree = _tree(path)
        types = [node for node in tree.body if isinstance(node, ast.ClassDef) and _fields(node)]
        if types and path.stem not in {"codec", "numbers"}:
            parts += [f"### {(ast.get_docstring(tree) or path.stem).splitlines()[0]}"]
            parts += [_type(node, say) for node in types]
    return "\n\n".join(parts)


def _type(node: ast.ClassDef, say: Say) -> str:
    bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id != "Record"]
    about = [
        *_prose(ast.get_docstring(node) or ""),
        *([f"Holds the fields of {', '.join(bases)} too."] if bases else []),
    ]
    rows = [(f"`{name}`", f"`{kind}`", _text(doc)) for name, kind, doc in _fields(node)]
    return "\n\n".join([f"#### {node.name}", *filter(None, about), _table("field | type | meaning", rows, say)])


# --- reading and writing ------------------------------------------------------------------------


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _node(kind: type) -> ast.ClassDef:
    """Return a class as it is written."""
    tree = _tree(Path(inspect.getfile(kind)))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)


def _fields(node: ast.ClassDef) -> list[Found]:
    """Return (name, type with its default, what the text behind it says) of each field."""
    found = []
    for part, behind in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id[0] != "_":
            kind = ast.unparse(part.annotation) + (f" = {ast.unparse(part.value)}" if part.value else "")
            value = behind.value if isinstance(behind, ast.Expr) else None
            doc = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
            found.append((part.target.id, kind, " ".join(doc.split())))
    return found


def _table(head: str, rows: list[tuple[str, ...]], say: Say) -> str:
    lines = [" | ".join(_word(one, say) for one in head.split(" | ")), "|".join(["---"] * (head.count("|") + 1))]
    cells = (" | ".join(_text(one).replace("|", "\\|") for one in row) for row in rows)
    return "\n".join([f"| {lines[0]} |", f"|{lines[1]}|", *(f"| {line} |" for line in cells)])


def _text(text: str) -> str:
    """Return a text as Markdown shows it: outside of code, what could be a tag, a link or emphasis stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(one if one.startswith("`") else re.sub(r"(?<!\\)([<*\[\]])", r"\\\1", one) for one in parts)


MAKERS: dict[str, Callable[[Say], str]] = {
    "commands": commands,
    "functions": functions,
    "classes": classes,
    "run-folder": run_folder,
    "records": records,
}


def written(page: Path) -> str:
    """Return a page with what the code says now."""
    say = said_in("zh" if "zh" in page.relative_to(DOCS).parts else "en")
    text = page.read_text(encoding="utf-8")
    return PART.sub(lambda found: f"{found[1]}\n{MAKERS[found[2]](say)}\n\n{found[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page), encoding="utf-8")
