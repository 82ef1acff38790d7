"""Put the figures of results/ into docs/results.md, the short table into README.md, and both into Chinese.

    python benchmarks/results_table.py

Nothing is typed by hand: a test fails when a page and the files differ.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

from results_words import FRONT, WORDS

from residuum.models.named import NAMED_NETS
from residuum.models.spec import from_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
MARKED = re.compile(r"(<!-- results:[^\n]*-->\n).*?(<!-- /results -->)", re.DOTALL)


def tables(page: str) -> str:
    """Return the results part of one page, made from the files alone; links lead from where the page lies."""
    made = _front(FRONT[page]) if page in FRONT else _all(WORDS[page])
    return re.sub(r"\]\((benchmarks/|results\))", "](" + "../" * page.count("/") + r"\1", made)


def _front(words: dict[str, str]) -> str:
    """Return the short table: a figure of each kind."""
    (accuracy, papers), (fast,) = _accuracies(), _read("fast")
    (few,), starter = _read("ants-bees-head"), _read("ants-bees-starter")[0]["summary"]["starter"]
    (speed,), (serve,) = _read("train-speed-resnet20"), _read("serve")
    (gpu,), (paper,) = _read("gpu-speed-resnet20"), _read("gpu-paper")
    share = serve["of_the_engine"]
    between = f"{share['median']:.2f} ({share['min']:.2f}–{share['max']:.2f})"
    rows = [
        _front_row("accuracy.py", words["accuracy"].format(**one), one["summary"]["test_accuracy"]) for one in accuracy
    ]
    rows += [
        _front_row(
            "fast.py",
            words["fast"],
            fast["summary"]["accuracy"] | {"n": fast["summary"]["n"]},
            fast["summary"]["seconds"],
        ),
        _front_row("ants_bees_starter.py", words["starter"], starter["accuracy"], starter["seconds"]),
        _front_row("ants_bees_head.py", words["head alone"], few["summary"]["accuracy"], few["summary"]["seconds"]),
        _row("train_speed.py", words["speed"].format(**speed), _ratio(speed["ratio"]), str(speed["rounds"]), "–"),
        _row(
            "gpu.py",
            words["gpu"].format(**gpu),
            _ratio(gpu["ratio_of_ours"]["usual"]),
            str(gpu["images_per_s"]["ours"]["n"]),
            "–",
        ),
        _front_paper_row(words["paper"], paper),
        *[_front_papers_here(words["paper_here"], one, paper) for one in papers if one["model"] == "resnet20"],
        _row("serve.py", words["serve"], between, str(serve["n"]), "–"),
    ]
    environment = fast["runs"][0]["environment"]
    note = words["note"].format(**{**environment, "date": environment["date"][:10]})
    return "\n".join([*_table(words["head"], rows), note, ""])


def _front_row(
    script: str, what: str, accuracy: dict[str, Any], seconds: dict[str, float] | None = None, n: int = 0, **_: Any
) -> str:
    """Return a row of the short table: an accuracy over seeds, and the median seconds, or mean, of the command."""
    took = f"{seconds.get('median') or seconds['mean']:.0f} s" if seconds else "–"
    return _row(script, what, _mean(accuracy), str(n or accuracy["n"]), took)


def _front_paper_row(words: str, paper: dict[str, Any]) -> str:
    """Return the row of the paper's own recipe, run in full."""
    runs = [run for run in paper["runs"] if run["model"] == "resnet20"]
    rights, papers = [1 - run["test_error"] for run in runs], _percent(1 - runs[0]["papers_test_error"])
    accuracy = {"mean": statistics.fmean(rights), "sd": statistics.stdev(rights), "n": len(runs)}
    return _front_row("gpu.py", words.format(papers=papers, **paper), accuracy)


def _accuracies() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what accuracy.py measured: of short recipes, and of the paper's in full."""
    every = _read("accuracy-*")
    papers = [one for one in every if one["recipe"] == "he2015_cifar"]
    return [one for one in every if one not in papers], papers


def _front_papers_here(words: str, found: dict[str, Any], paper: dict[str, Any]) -> str:
    """Return the row of the paper's own recipe, run in full on a processor."""
    papers = next(run["papers_test_error"] for run in paper["runs"] if run["model"] == found["model"])
    return _front_row("accuracy.py", words.format(papers=_percent(1 - papers)), found["summary"]["test_accuracy"])


def _all(words: dict[str, Any]) -> str:
    """Return every table of the long page."""
    (accuracy, _), speed = _accuracies(), _read("train-speed-*")
    lines = _table(words["accuracy"], [_accuracy_row(one, words) for one in accuracy])
    fast = [one for name in ("fast", "fast-control", "fast-95", "fast-avx2") for one in _read(name)]
    lines += _table(words["fast"], [_fast_row(one, words["kept_to"]) for one in fast])
    lines += _table(words["speed"], [_speed_row(one, words) for one in speed])
    lines += _on_a_gpu(words)
    lines += _table(words["few"], _few_rows(words["few_ways"]))
    for trust, starter in zip(_read("ants-bees-review"), _read("starter-strangers"), strict=True):
        found, unsure = trust["flipped"], trust["unsure"]
        shares = {
            "strangers": 100 * unsure["strangers_unsure"],
            "known": 100 * unsure["known_unsure_out_of_fold"],
            "small": 100 * starter["unsure"]["strangers_unsure"],
        }
        lines += [words["trust"].format(**found, **shares), ""]
    for several in _read("several-labels"):
        lines += _table(words["several"].format(**several), [_several_row(several)])
    lines += _answering(words)
    for parity in _read("parity-*"):
        lines += _table(words["parity"].format(**parity), [_parity_row(parity, words["kept_to"])])
    lines += _table(words["order"], [_order_row(one, words) for one in _read("epoch-order-*")])
    for price in _read("depth-price"):
        lines += _table(words["depth"], [_depth_row(name, net) for name, net in price["steps"].items()])
        fit = price["fit"]
        lines += [words["fit"].format(**fit, percent=100 * fit["largest_relative_error"]), ""]
    jpeg = zip(words["jpeg_names"], [*_read("jpeg-input"), *_read("jpeg-input-x4")], strict=True)
    lines += _table(words["jpeg"], [_jpeg_row(name, one) for name, one in jpeg])
    lines += _table(words["family"], [_family_row(row) for one in _read("family-speed") for row in one["rows"]])
    lines += _table(words["trim"], [_trim_row(one, words) for one in reversed(_read("trim-*"))])
    environment = (accuracy[0]["runs"][0] if accuracy else speed[0])["environment"]
    note = words["note"].format(**{**environment, "date": environment["date"][:10]})
    return "\n".join([*lines, note, ""])


def _read(name: str) -> list[dict[str, Any]]:
    """Return what the files of this name, or pattern, hold."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(f"{name}.json"))]


def _table(head: str, rows: list[str]) -> list[str]:
    return [head, "|" + "---|" * (head.count("|") - 1), *rows, ""]


def _row(script: str, *cells: str) -> str:
    """Return a row of these cells, and the benchmark that measured it."""
    return f"| {' | '.join(cells)} | [{script}](benchmarks/{script}) |"


def _accuracy_row(result: dict[str, Any], words: dict[str, str]) -> str:
    accuracy = result["summary"]["test_accuracy"]
    what = f"{result['data']}, {result['model']}, {result['recipe']}, {words['epochs'].format(**result)}"
    return _row("accuracy.py", what, _mean(accuracy), str(accuracy["n"]))


def _fast_row(result: dict[str, Any], kept_to: dict[str, str]) -> str:
    found = result["summary"]
    accuracy, seconds, share = (found.get(name) for name in ("accuracy", "seconds", "of_time_to_beat"))
    right = f"{_mean(accuracy)} ({_percent(accuracy['min'])})"
    time = f"{seconds['mean']:.0f} ({seconds['min']:.0f}–{seconds['max']:.0f})"
    part = f"{share['mean']:.2f} ({share['min']:.2f}–{share['max']:.2f})" if share else "–"
    spec = from_json(result["runs"][0]["net"])
    net = next(name for name, named in NAMED_NETS.items() if named == spec)
    how = kept_to[result["instructions"]] if "instructions" in result else "" if share else "`--target 95`"
    return _row("fast.py", ", ".join(filter(None, (net, how))), right, time, part, str(found["n"]))


def _speed_row(result: dict[str, Any], words: dict[str, Any]) -> str:
    usual, library, limit = (_ratio(result[name]) for name in ("ratio", "ratio_library", "ratio_limit"))
    what = f"{result['model']}, {result['image_size']} px, batch {result['batch_size']}"
    isa = result.get("instructions_up_to")
    what += f", {words['kept_to'][isa]}" if isa else ""
    speed = f"{result['images_per_s']['ours']['median']:.0f}"
    needs = f"{result['first_steps_s']:.1f} s", f"{result['peak_memory_mib']:,} MiB"
    return _row("train_speed.py", what, speed, usual, library, limit.replace("×", ""), *needs)


def _on_a_gpu(words: dict[str, Any]) -> list[str]:
    """Return what benchmarks/gpu.py measured."""
    speed, (fast,), (paper,) = _read("gpu-speed-*"), _read("gpu-fast"), _read("gpu-paper")
    lines = _table(words["gpu"].format(**speed[0]["device"]), [_gpu_row(one) for one in speed])
    rights = [run["accuracy"] for run in fast["runs"]]
    right = _mean({"mean": statistics.fmean(rights), "sd": statistics.stdev(rights)})
    published = {"published": fast["published"]["seconds"], "device": fast["published"]["device"]}
    said = {"right": right, "least": _percent(min(rights)), "n": len(rights), "seconds": fast["summary"]["seconds"]}
    lines += [words["gpu_fast"].format(**said, **published), ""]
    alike = dict.fromkeys((run["model"], run["device"]) for run in paper["runs"])
    rows = [_paper_row(*one, paper["runs"], speed[0]["device"]["name"]) for one in alike]
    rows += [_papers_row_here(one, paper, words["here"]) for one in _accuracies()[1]]
    return lines + _table(words["gpu_paper"], rows)


def _gpu_row(result: dict[str, Any]) -> str:
    ours, ratios = result["images_per_s"]["ours"], result["ratio_of_ours"]
    what = f"{result['model']}, {result['image_size']} px, batch {result['batch_size']}"
    speed = f"{ours['median']:,.0f} ({ours['min']:,.0f}–{ours['max']:,.0f})"
    return _row("gpu.py", what, speed, _ratio(ratios["usual"]), _ratio(ratios["library"]), str(ours["n"]))


def _paper_row(model: str, device: str, runs: list[dict[str, Any]], usual: str) -> str:
    """Return the row of one model on one device, which is named where it is not the `usual` one."""
    own = [run for run in runs if (run["model"], run["device"]) == (model, device)]
    errors, papers = [run["test_error"] for run in own], own[0]["papers_test_error"]
    error = f"{_percent(statistics.fmean(errors))} % ({_percent(min(errors))}–{_percent(max(errors))})"
    name = model if device == usual else f"{model}, {device}"
    return _row("gpu.py", name, error, f"{_percent(papers)} %" if papers else "–", str(len(errors)))


def _papers_row_here(result: dict[str, Any], paper: dict[str, Any], here: str) -> str:
    """Return the row of one model on a processor, where the paper's recipe ran in full."""
    errors = [1 - run["test_accuracy"] for run in result["runs"]]
    error = f"{_percent(statistics.fmean(errors))} % ({_percent(min(errors))}–{_percent(max(errors))})"
    (papers,) = {run["papers_test_error"] for run in paper["runs"] if run["model"] == result["model"]} or {None}
    papers = f"{_percent(papers)} %" if papers else "–"
    return _row("accuracy.py", f"{result['model']}, {here}", error, papers, str(len(errors)))


def _several_row(result: dict[str, Any]) -> str:
    found = result["summary"]
    names = ("mean_average_precision", "likeliest_label_right", "macro_f1", "ece")
    figures = [_mean(found[name]) for name in names]
    return _row("several_labels.py", f"{result['model']}, {result['recipe']}", *figures, str(found["n"]))


def _parity_row(result: dict[str, Any], kept_to: dict[str, str]) -> str:
    ways = [result["summary"][way] for way in ("fast", "plain")]
    name = ", ".join([result["model"], *[kept_to[one] for one in [result.get("instructions")] if one]])
    return _row("parity.py", name, *map(_mean, ways), str(ways[0]["n"]))


def _order_row(result: dict[str, Any], words: dict[str, Any]) -> str:
    found, recipe = result["summary"]["accuracy"], result["recipe"]
    added = {name: 100 * value for name, value in found["whole less as-0.1"].items()}
    less = words["points"].format(**added)
    seeds = str(result["summary"]["n"]["whole"])
    return _row("epoch_order.py", recipe, _mean(found["as-0.1"]), _mean(found["whole"]), less, seeds)


def _few_rows(said: dict[str, str]) -> list[str]:
    """Return a row of each way to train on few photographs that was measured."""
    rows = []
    for file in ("ants_bees_head", "ants_bees_tune", "ants_bees_starter"):
        for result in _read(file.replace("_", "-")):
            found = result["summary"]
            for way, figures in ({"head": found} if "accuracy" in found else found).items():
                accuracy, seconds = figures["accuracy"], figures["seconds"]
                time = f"{seconds['median']:.0f} ({seconds['min']:.0f}–{seconds['max']:.0f})"
                rows.append(_row(f"{file}.py", said[way], _mean(accuracy), time, str(accuracy["n"])))
    return rows


def _answering(words: dict[str, Any]) -> list[str]:
    """Return what was measured of engines, exports, the server and its page."""
    (speed,), (cold,) = _read("engines-speed-resnet50"), _read("engines-cold-half-resnet50")
    (parity,), (serve,), (live,) = _read("engines-parity-half-resnet50"), _read("serve"), _read("live-page")
    (predict,) = _read("predict")
    lines = _table(words["engines"].format(**speed), [_engine_row(way, speed) for way in speed["ways"]])
    exact = [one for to in ("onnx", "openvino", "torch") for one in parity[to]["agreements"]]
    assert all(one["same"] == 1 and one["pictures"] == 200 for one in exact), "the sentence says so"
    seconds = {name: found["median"] for name, found in cold["processor seconds"].items()}
    exported = [value for name, value in seconds.items() if name != "torch"]
    between = f"{min(exported):.2f}–{max(exported):.2f}"
    alone = predict["cold"]["import torch"]["median"]
    many = ", ".join(f"{one['of_the_lower_limit']['median']:.2f} ({one['engine']})" for one in predict["many"].values())
    lines += [words["cold"].format(seconds=between, torch=seconds["torch"], alone=alone, many=many), ""]
    lines += [_in_int8(words["int8"], speed), ""]
    overload = serve["overload"]
    p99, bound = overload["accepted_p99_seconds"], overload["stated_bound_seconds"]
    clicks = ", ".join(
        f"{name} {found['median']:.0f} ms ({found['min']:.0f}–{found['max']:.0f})"
        for name, found in live["nets"].items()
    )
    said = {"engine": serve["engine"], "precision": serve["precision"], "share": serve["of_the_engine"]}
    return [*lines, words["serve"].format(**said, p99=p99, bound=bound, live=clicks), ""]


def _in_int8(words: str, speed: dict[str, Any]) -> str:
    (avx2,), (parity,) = _read("engines-speed-resnet50-avx2"), _read("engines-parity-resnet20")

    def gain(found: dict[str, Any], of: str) -> str:
        return ", ".join(f"{found[f'batch {batch}']['times as fast'][of]['median']:.2f}" for batch in (1, 16))

    exact = [one for to in ("onnx", "openvino") for one in parity[to]["agreements"] if one["precision"] == "float32"]
    rough = [one for to in ("onnx int8", "openvino int8") for one in parity[to]["agreements"]]
    assert all(one["same"] == 1 for one in exact), "the sentence says so"
    return words.format(
        model=speed["model"],
        amx=gain(speed, "openvino: bfloat16 / int8"),
        avx2=gain(avx2, "openvino: float32 / int8"),
        other=gain(avx2, "onnxruntime: float32 / int8"),
        n=min(one["pictures"] for one in exact + rough),
        largest=max(one["largest"] for one in exact),
        own=100 * exact[0]["own_accuracy"]["value"],
        least=100 * min(one["accuracy"]["value"] for one in rough),
    )


def _engine_row(way: list[str], speed: dict[str, Any]) -> str:
    name, cells = " ".join(way), []
    for batch in ("batch 1", "batch 16"):
        found, ratios = speed[batch]["milliseconds"][f"ours {name}"], speed[batch]["times as fast"]
        beside = ratios.get(f"ours / alone, {name}")
        cells += [f"{found['median']:.1f} ({found['min']:.1f}–{found['max']:.1f})", _ratio(beside) if beside else "–"]
    return _row("engines.py", name, *cells)


def _depth_row(name: str, net: dict[str, Any]) -> str:
    memory = ", ".join(f"{peak / 1024:.1f}" for peak in net["peak_memory_mib"]) + " GiB"
    return _row("depth_price.py", name, f"{1000 * net['seconds_a_picture']:.2f} ms", _ratio(net["overhead"]), memory)


def _jpeg_row(name: str, result: dict[str, Any]) -> str:
    speed = f"{result['images_per_s']['views']['median']:.0f}"
    alone, together = result["ratio_to_reference"]["views"], result["batches_to_reference_batches"]
    return _row("jpeg_input.py", name, speed, _ratio(alone), _ratio(together))


def _family_row(row: dict[str, Any]) -> str:
    what = f"{row['model']}, {row['image_size']} px, {row['precision']}, batch {row['batch_size']}"
    speeds = [f"{row['images_per_s'][side]:.1f}" for side in ("ours", "reference")]
    return _row("family_speed.py", what, *speeds, _ratio(row["ratio"], "low_quartile", "high_quartile"))


def _trim_row(result: dict[str, Any], words: dict[str, str]) -> str:
    curve, removed, repaired = result["curve"], result["chosen"]["removed"], result["repaired"]
    whole, cut = curve[0], curve[removed]
    random = [draw["accuracy_recalibrated"][removed] for draw in result["random"]]
    what = f"{result['model']['name']}: {removed} / {sum(whole['blocks'])}"
    validation = [whole["accuracy"], cut["accuracy_recalibrated"], repaired["validation_accuracy"]]
    test = [repaired["original_test_accuracy"], repaired["test_accuracy"]]
    judged = f"{', '.join(map(_percent, validation))} % (n = {result['data']['images']:,})"
    spread = f"{_percent(statistics.fmean(random))} ({_percent(min(random))}–{_percent(max(random))})"
    draws = f"{spread} %, {words['draws'].format(n=len(random))}"
    faster = f"{whole['latency_ms']['32'] / cut['latency_ms']['32']:.2f}×"
    return _row("trim_curve.py", what, judged, draws, f"{', '.join(map(_percent, test))} %", faster)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _mean(found: dict[str, float | None]) -> str:
    """Write the mean of some accuracies with their spread, which one alone has not."""
    spread = "" if found["sd"] is None else f" ± {_percent(found['sd'])}"
    return f"{_percent(found['mean'])}{spread} %"


def _ratio(ratio: dict[str, float], low: str = "min", high: str = "max") -> str:
    return f"{ratio['median']:.2f}× ({ratio[low]:.2f}–{ratio[high]:.2f})"


def with_tables(page: str, text: str) -> str:
    """Return the page's text with its results part made anew."""
    return MARKED.sub(lambda found: found[1] + tables(page) + found[2], text)


def main() -> None:
    for page in (*FRONT, *WORDS):
        path = ROOT / page
        path.write_text(with_tables(page, path.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"written: {page}")


if __name__ == "__main__":
    main()
