"""What results_table.py says beside the figures, by page: README's short table, and the long page."""

from typing import Any

FRONT: dict[str, dict[str, str]] = {
    "README.md": {
        "head": "| what was done | figure | runs | whole command | written by |",
        "accuracy": "{data}, {model}, recipe {recipe}, {epochs} passes: test accuracy",
        "fast": "cifar10, recipe fast: test accuracy",
        "starter": "243 photographs of ants and bees, with the package alone (from its starter), as on AVX2: "
        "validation accuracy",
        "head alone": "the same with weights of your own, here those of a half-resnet50 read by `residuum import FILE "
        "--stride-in 1x1 --mean 0.482 0.459 0.408 --std 1 1 1`: "
        "validation accuracy",
        "speed": "training {model}: times the images/s of the usual PyTorch loop",
        "gpu": "training {model} on {device[name]}: times the images/s of the usual PyTorch loop",
        "paper": "cifar10, resnet20, the paper's recipe in full, on {device[name]}: test accuracy (paper: {papers} %)",
        "paper_here": "the same on a processor, in bfloat16: test accuracy (paper: {papers} %)",
        "serve": "server: share of what its engine could do",
        "note": "Mean ± standard deviation over seeds, or median (range) over repeats. {processor}, {cores} cores, "
        "torch {torch}, {date}. [All results](docs/results.md).",
    },
    "README.zh.md": {
        "head": "| 做了什么 | 数字 | 次数 | 整条命令 | 由谁写出 |",
        "accuracy": "{data}，{model}，配方 {recipe}，{epochs} 轮：测试准确率",
        "fast": "cifar10，配方 fast：测试准确率",
        "starter": "243 张蚂蚁与蜜蜂的照片，只用软件包（从自带的 starter 开始），如同只有 AVX2：验证准确率",
        "head alone": "同样的照片，用你自己的权重，这里是由 `residuum import FILE --stride-in 1x1 --mean 0.482 0.459 "
        "0.408 --std 1 1 1` 读入的 half-resnet50：验证准确率",
        "speed": "训练 {model}：每秒图片数是通常的 PyTorch 循环的几倍",
        "gpu": "在 {device[name]} 上训练 {model}：每秒图片数是通常的 PyTorch 循环的几倍",
        "paper": "cifar10，resnet20，完整的论文配方，在 {device[name]} 上：测试准确率（论文：{papers} %）",
        "paper_here": "同上，在处理器上，以 bfloat16 计算：测试准确率（论文：{papers} %）",
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
        "gpu": "| training on {name}, whole loop | ours, images/s (range) | × the usual loop (range) "
        "| × timm's step on a batch that is there (range) | repeats | written by |",
        "gpu_fast": "Recipe fast there: {right} ({least} or more), {seconds[median]:.2f} s ({seconds[min]:.2f}–"
        "{seconds[max]:.2f}; {n} seeds, after one that is not counted; loading the data left out). Published for the "
        "record, on an {device}: {published:.2f} s.",
        "here": "on a processor",
        "several": "| several labels a picture: {training_pictures:,} mosaics of up to four of CIFAR-10's pictures, "
        "{epochs} passes; {test_pictures:,} test mosaics | mean average precision | likeliest label right | macro F1 "
        "| ECE | seeds | written by |",
        "gpu_paper": "| 64,000 iterations there, as in the paper: CIFAR-10 | test error, mean (range) | the paper's "
        "| seeds | written by |",
        "order": "| CIFAR-10, held-out accuracy, recipe | `--shuffle as-0.1` | `--shuffle whole` | "
        "what it adds, seed by seed, points | seeds | written by |",
        "points": "{mean:+.2f} ± {sd:.2f}",
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
            "head": "from half-resnet50, read with `--stride-in 1x1 --mean 0.482 0.459 0.408 --std 1 1 1`, "
            "the last layer alone",
            "last": "from half-resnet50, the last stage tuned",
            "all": "from half-resnet50, the last half tuned",
            "starter": "from the starter that comes with the package",
            "nothing": "from nothing: ResNet-20 at 64 px",
        },
        "trust": "Of 20 labels flipped in the 243, {review[mean]:.1f} ± {review[sd]:.1f} are among the first 25 of "
        "`data review` ({review[n]} draws; cleanlab's better ranking: {cleanlab_best[mean]:.1f} ± "
        '{cleanlab_best[sd]:.1f}). Of 200 other photographs {strangers:.1f} % are "unsure", of the training pictures, '
        "out of fold, {known:.1f} % ([ants_bees_review.py](benchmarks/ants_bees_review.py)); from the small net that "
        "comes along {small:.1f} % ([starter_strangers.py](benchmarks/starter_strangers.py)).",
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
        "gpu": "| 在 {name} 上训练，完整循环 | 我们，张/秒（范围） | 与通常的循环之比（范围） "
        "| 与 timm 一步（批已在显存中）之比（范围） | 次数 | 由谁写出 |",
        "gpu_fast": "配方 fast 在那里：{right}（不低于 {least}），{seconds[median]:.2f} 秒"
        "（{seconds[min]:.2f}–{seconds[max]:.2f}；{n} 个种子，另有一个不计；不含读取数据）。"
        "已发表的纪录，在 {device} 上：{published:.2f} 秒。",
        "here": "在处理器上",
        "several": "| 每张图片多个标签：{training_pictures:,} 张由至多四张 CIFAR-10 图片拼成的图，{epochs} 轮；"
        "{test_pictures:,} 张测试图 | 平均精度均值 | 最可能的标签正确 | 宏平均 F1 | ECE | 种子数 | 由谁写出 |",
        "gpu_paper": "| 在那里按论文做 64,000 次迭代：CIFAR-10 | 测试错误率，均值（范围） | 论文的 | 种子数 "
        "| 由谁写出 |",
        "order": "| CIFAR-10 留出准确率，配方 | `--shuffle as-0.1` | `--shuffle whole` | 逐个种子的差，百分点 | 种子数 "
        "| 由谁写出 |",
        "points": "{mean:+.2f} ± {sd:.2f}",
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
            "head": "从 half-resnet50（以 `--stride-in 1x1 --mean 0.482 0.459 0.408 --std 1 1 1` 导入）开始，"
            "只拟合最后一层",
            "last": "从 half-resnet50 开始，微调最后一个阶段",
            "all": "从 half-resnet50 开始，微调后一半",
            "starter": "从软件包自带的 starter 开始",
            "nothing": "从零开始：64 px 的 ResNet-20",
        },
        "trust": "在 243 个标签中翻转 20 个，`data review` 的前 25 项里平均有 {review[mean]:.1f} ± {review[sd]:.1f} 个"
        "（{review[n]} 次；cleanlab 较好的排序：{cleanlab_best[mean]:.1f} ± {cleanlab_best[sd]:.1f}）。"
        "另外 200 张照片中有 {strangers:.1f} % 得到 “unsure”，训练图片（折外）中有 {known:.1f} % "
        "（[ants_bees_review.py](benchmarks/ants_bees_review.py)）；从随软件包附带的小网络开始，另外 200 张照片中有 "
        "{small:.1f} %（[starter_strangers.py](benchmarks/starter_strangers.py)）。",
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
