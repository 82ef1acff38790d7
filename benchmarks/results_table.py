"""Put the figures of results/ into docs/results.md, the short table into README.md, and both into Chinese.

    python benchmarks/results_table.py

Nothing is typed by hand: a test fails when a page and the files differ.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

from residuum.models.named import NAMED_NETS
from residuum.models.spec import from_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
MARKED = re.compile(r"(<!-- results:[^\n]*-->\n).*?(<!-- /results -->)", re.DOTALL)

FRONT: dict[str, dict[str, str]] = {
    "README.md": {
        "head": "| what was done | figure | runs | whole command | written by |",
        "accuracy": "{data}, {model}, recipe {recipe}, {epochs} passes: test accuracy",
        "fast": "cifar10, recipe fast: test accuracy",
        "head alone": "243 photographs of ants and bees, from half-resnet50, on AVX2: validation accuracy",
        "speed": "training {model}: times the images/s of the usual PyTorch loop",
        "serve": "server: share of what its engine could do",
        "note": "Mean ± standard deviation over seeds, or median (range) over repeats. {processor}, {cores} cores, "
        "torch {torch}, {date}. [All results](docs/results.md).",
    },
    "README.zh.md": {
        "head": "| 做了什么 | 数字 | 次数 | 整条命令 | 由谁写出 |",
        "accuracy": "{data}，{model}，配方 {recipe}，{epochs} 轮：测试准确率",
        "fast": "cifar10，配方 fast：测试准确率",
        "head alone": "243 张蚂蚁与蜜蜂的照片，从 half-resnet50 开始，AVX2：验证准确率",
        "speed": "训练 {model}：每秒图片数是通常的 PyTorch 循环的几倍",
        "serve": "服务器：达到其引擎能力的几成",
        "note": "均值 ± 标准差（各种子），或中位数（范围，多次重复）。{processor}，{cores} 核，torch {torch}，{date}。"
        "[全部结果](docs/zh/results.md)。",
    },
}
WORDS: dict[str, dict[str, Any]] = {
    "docs/results.md": {
        "accuracy": "| data, net, recipe | test accuracy, mean ± sd | seeds | written by |",
        "fast": "| recipe fast, CIFAR-10 | test accuracy, mean ± sd (lowest) | whole command, s (range) "
        "| of the time to beat (range) | seeds | written by |",
        "speed": "| training, whole loop | ours, images/s | × the usual loop (range) | × timm's step (range) "
        "| of the convolution limit (range) | first steps | peak memory | written by |",
        "kept_to": {"AVX512_CORE_BF16": "no AMX", "AVX2": "as on AVX2"},
        "parity": "| held-out accuracy after {epochs} epochs | the fast way | float32, torch's operations | seeds "
        "| written by |",
        "depth": "| what depth costs | a picture | checkpointing: times as long (range) "
        "| peak memory without, with | written by |",
        "fit": "Over 20 to 1202 layers a straight line fits the time a picture takes (R² = {r2:.4f}; no net lies "
        "further from it than {percent:.0f} %).",
        "jpeg": "| JPEG training input, one core | views, images/s | views, × torchvision's transform (range) "
        "| normalised batches, both sides: × (range) | written by |",
        "jpeg_names": ("photographs of 500 px", "the same, four times as large"),
        "family": "| forward and backward | ours, images/s | reference, images/s | ratio (quartiles) | written by |",
        "few": "| 243 photographs of ants and bees, as on AVX2 | validation accuracy, mean ± sd (n = 153) "
        "| whole command, s (range) | seeds | written by |",
        "few_ways": {
            "head": "from half-resnet50, the last layer alone",
            "last": "from half-resnet50, the last stage tuned",
            "all": "from half-resnet50, the last half tuned",
            "starter": "from the starter that comes with the package",
            "nothing": "from nothing: ResNet-20 at 64 px",
        },
        "trust": "Of 20 labels flipped in the 243, {review[mean]:.1f} ± {review[sd]:.1f} are among the first 25 of "
        "`data review` ({review[n]} draws; cleanlab's better ranking: {cleanlab_best[mean]:.1f} ± "
        '{cleanlab_best[sd]:.1f}). Of 200 other photographs {strangers:.1f} % are "unsure", of the training pictures, '
        "out of fold, {known:.1f} % ([ants_bees_review.py](benchmarks/ants_bees_review.py)).",
        "engines": "| answers of {model} at 224 px | batch 1, ms (range) | × the engine called directly | batch 16, ms "
        "(range) | × the engine called directly | written by |",
        "cold": "`predict` of one photograph, from a cold start: {seconds} s of processor time for an exported model, "
        "{torch:.2f} s with torch, whose import alone takes {alone:.2f} s ([engines.py](benchmarks/engines.py), "
        "[predict.py](benchmarks/predict.py)). Exported, all of 200 photographs are answered alike in float32 and "
        "bfloat16. `predict` of 200 photographs reaches {many} of the lower of what decoder and engine could.",
        "int8": "In int8 {model} is {amx} times as fast as in bfloat16 (openvino, batch 1, 16) and, as on AVX2, {avx2} "
        "times as fast as in float32 (onnxruntime: {other}; [engines.py](benchmarks/engines.py)). All of CIFAR-10's "
        "{n:,} test pictures are answered alike in float32, exported or not, within {largest:.0e}; {own:.2f} % right, "
        "in int8 {least:.2f} % or more.",
        "serve": "The server answers {share[median]:.2f} ({share[min]:.2f}–{share[max]:.2f}) of what its engine "
        "({engine}, {precision}) could, decoding and asking on the same two cores; asked ten times that, 99 % of those "
        "accepted have their answer in {p99:.1f} s (stated: {bound:.0f} s), all others a 429 "
        "([serve.py](benchmarks/serve.py)). From a click on a block to the new answer: {live} "
        "([live_page.py](benchmarks/live_page.py)).",
        "trim": "| a quarter of the blocks taken out | validation accuracy: whole, cut, repaired "
        "| at random, cut: mean (range) | test accuracy: whole, repaired | times as fast | written by |",
        "draws": "{n} draws",
        "note": "Measured on {processor}, {cores} cores, torch {torch}, {date}. Every run stands in "
        "[`results/`](results). The usual loop: the same net, eager float32, torchvision's per-image transforms. "
        "What time there is to beat: `benchmarks/fast.py`. Blocks: one net of each kind, trained for ten epochs; the "
        "spread is that of choosing at random. Cut: BN "
        "recalibrated, nothing trained; repaired: two epochs.",
        "epochs": "{epochs} epochs",
    },
    "docs/zh/results.md": {
        "accuracy": "| 数据、网络、配方 | 测试准确率，均值 ± 标准差 | 种子数 | 由谁写出 |",
        "fast": "| 配方 fast，CIFAR-10 | 测试准确率，均值 ± 标准差（最低） | 整条命令，秒（范围） "
        "| 占目标时间的几成（范围） | 种子数 | 由谁写出 |",
        "speed": "| 训练速度，完整循环 | 我们，张/秒 | 与通常的循环之比（范围） | 与 timm 一步之比（范围） "
        "| 卷积极限的几成（范围） | 首批步 | 内存峰值 | 由谁写出 |",
        "kept_to": {"AVX512_CORE_BF16": "不用 AMX", "AVX2": "如同只有 AVX2"},
        "parity": "| {epochs} 轮后的留出准确率 | 快的方式 | float32、torch 自己的运算 | 种子数 | 由谁写出 |",
        "depth": "| 深度的代价 | 每张图 | 激活重计算：几倍时间（范围） | 内存峰值：不用、用 | 由谁写出 |",
        "fit": "从 20 层到 1202 层，每张图的时间可用一条直线拟合（R² = {r2:.4f}；偏离最多 {percent:.0f} %）。",
        "jpeg": "| JPEG 训练输入，单核 | 视图，张/秒 | 视图与 torchvision 变换之比（范围） "
        "| 归一化的批，两边都算：之比（范围） | 由谁写出 |",
        "jpeg_names": ("500 px 的照片", "同样的照片，放大四倍"),
        "family": "| 前向与反向 | 我们，张/秒 | 参照，张/秒 | 比值（四分位） | 由谁写出 |",
        "few": "| 243 张蚂蚁与蜜蜂的照片，如同只有 AVX2 | 验证准确率，均值 ± 标准差（n = 153） "
        "| 整条命令，秒（范围） | 种子数 | 由谁写出 |",
        "few_ways": {
            "head": "从 half-resnet50 开始，只拟合最后一层",
            "last": "从 half-resnet50 开始，微调最后一个阶段",
            "all": "从 half-resnet50 开始，微调后一半",
            "starter": "从软件包自带的 starter 开始",
            "nothing": "从零开始：64 px 的 ResNet-20",
        },
        "trust": "在 243 个标签中翻转 20 个，`data review` 的前 25 项里平均有 {review[mean]:.1f} ± {review[sd]:.1f} 个"
        "（{review[n]} 次；cleanlab 较好的排序：{cleanlab_best[mean]:.1f} ± {cleanlab_best[sd]:.1f}）。"
        "另外 200 张照片中有 {strangers:.1f} % 得到 “unsure”，训练图片（折外）中有 {known:.1f} % "
        "（[ants_bees_review.py](benchmarks/ants_bees_review.py)）。",
        "engines": "| {model} 在 224 px 的回答 | 批量 1，毫秒（范围） | 直接调用引擎的几倍 | 批量 16，毫秒（范围） "
        "| 直接调用引擎的几倍 | 由谁写出 |",
        "cold": "冷启动 `predict` 一张照片：导出的模型用 {seconds} 秒处理器时间，用 torch 则为 {torch:.2f} 秒"
        "（其中仅导入 torch 就要 {alone:.2f} 秒；"
        "[engines.py](benchmarks/engines.py)，[predict.py](benchmarks/predict.py)）。"
        "导出后，200 张照片在 float32 和 bfloat16 下的回答全部一致。"
        "`predict` 处理 200 张照片时达到解码与引擎两者较低上限的 {many}。",
        "int8": "{model} 的 int8 是 bfloat16 的 {amx} 倍快（openvino，批量 1、16）；与在 AVX2 上一样运行时"
        "是 float32 的 {avx2} 倍快（onnxruntime：{other}；[engines.py](benchmarks/engines.py)）。"
        "CIFAR-10 的 {n:,} 张测试图片，导出前后在 float32 下回答全部一致，相差不超过 {largest:.0e}；"
        "正确率 {own:.2f} %，int8 不低于 {least:.2f} %。",
        "serve": "服务器达到其引擎（{engine}，{precision}）能力的 "
        "{share[median]:.2f}（{share[min]:.2f}–{share[max]:.2f}），"
        "解码与请求方都在同样的两个核上；以十倍于此的速度请求时，被接受的请求有 99 % 在 {p99:.1f} 秒内得到回答"
        "（声明为 {bound:.0f} 秒），其余都得到 429（[serve.py](benchmarks/serve.py)）。从点击一个块到新的回答：{live}"
        "（[live_page.py](benchmarks/live_page.py)）。",
        "trim": "| 去掉四分之一的块 | 验证准确率：完整、剪后、修复后 | 随机去掉：均值（范围） "
        "| 测试准确率：完整、修复后 | 快多少倍 | 由谁写出 |",
        "draws": "{n} 次",
        "note": "测量环境：{processor}，{cores} 核，torch {torch}，{date}。每个种子的训练和硬件都记录在 "
        "[`results/`](results) 中。“通常的循环”：同一个网络，eager float32，torchvision 的逐图变换。"
        "目标时间见 `benchmarks/fast.py`。"
        "去块：每种网络一个，训练十轮；范围来自随机选择。剪后：只重新校准 BN，不训练；修复后：再训练两轮。",
        "epochs": "{epochs} 轮",
    },
}


def tables(page: str) -> str:
    """Return the results part of one page, made from the files alone; links lead from where the page lies."""
    made = _front(FRONT[page]) if page in FRONT else _all(WORDS[page])
    return re.sub(r"\]\((benchmarks/|results\))", "](" + "../" * page.count("/") + r"\1", made)


def _front(words: dict[str, str]) -> str:
    """Return the short table: a figure of each kind."""
    accuracy, (fast,), (few,) = _read("accuracy-*"), _read("fast"), _read("ants-bees-head")
    (speed,), (serve,) = _read("train-speed-resnet20"), _read("serve")
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
        _front_row("ants_bees_head.py", words["head alone"], few["summary"]["accuracy"], few["summary"]["seconds"]),
        _row("train_speed.py", words["speed"].format(**speed), _ratio(speed["ratio"]), str(speed["rounds"]), "–"),
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


def _all(words: dict[str, Any]) -> str:
    """Return every table of the long page."""
    accuracy, speed = _read("accuracy-*"), _read("train-speed-*")
    lines = _table(words["accuracy"], [_accuracy_row(one, words) for one in accuracy])
    lines += _table(
        words["fast"], [_fast_row(one) for name in ("fast", "fast-control", "fast-95") for one in _read(name)]
    )
    lines += _table(words["speed"], [_speed_row(one, words) for one in speed])
    lines += _table(words["few"], _few_rows(words["few_ways"]))
    for trust in _read("ants-bees-review"):
        found, unsure = trust["flipped"], trust["unsure"]
        shares = {"strangers": 100 * unsure["strangers_unsure"], "known": 100 * unsure["known_unsure_out_of_fold"]}
        lines += [words["trust"].format(**found, **shares), ""]
    lines += _answering(words)
    for parity in _read("parity-*"):
        lines += _table(words["parity"].format(**parity), [_parity_row(parity)])
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


def _fast_row(result: dict[str, Any]) -> str:
    found = result["summary"]
    accuracy, seconds, share = (found.get(name) for name in ("accuracy", "seconds", "of_time_to_beat"))
    right = f"{_mean(accuracy)} ({_percent(accuracy['min'])})"
    time = f"{seconds['mean']:.0f} ({seconds['min']:.0f}–{seconds['max']:.0f})"
    part = f"{share['mean']:.2f} ({share['min']:.2f}–{share['max']:.2f})" if share else "–"
    spec = from_json(result["runs"][0]["net"])
    net = next(name for name, named in NAMED_NETS.items() if named == spec)
    return _row("fast.py", net if share else f"{net}, `--target 95`", right, time, part, str(found["n"]))


def _speed_row(result: dict[str, Any], words: dict[str, Any]) -> str:
    usual, library, limit = (_ratio(result[name]) for name in ("ratio", "ratio_library", "ratio_limit"))
    what = f"{result['model']}, {result['image_size']} px, batch {result['batch_size']}"
    isa = result.get("instructions_up_to")
    what += f", {words['kept_to'][isa]}" if isa else ""
    speed = f"{result['images_per_s']['ours']['median']:.0f}"
    needs = f"{result['first_steps_s']:.1f} s", f"{result['peak_memory_mib']:,} MiB"
    return _row("train_speed.py", what, speed, usual, library, limit.replace("×", ""), *needs)


def _parity_row(result: dict[str, Any]) -> str:
    ways = [result["summary"][way] for way in ("fast", "plain")]
    return _row("parity.py", result["model"], *map(_mean, ways), str(ways[0]["n"]))


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
