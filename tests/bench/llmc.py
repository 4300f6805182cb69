#!/usr/bin/env python3
"""Times glint's training step of GPT-2 124M against llm.c's, in turn.

    git clone https://github.com/karpathy/llm.c
    python3 tests/bench/llmc.py llm.c [--device cpu|cuda] [--rounds 3] [--glint build/glint]

Builds llm.c by its Makefile, unless it is built (for a GPU `--make USE_CUDNN=1` and so on, as its README says; its
version of May 2025, f1e2ace, wants CUDA 12), and writes what it reads: random tokens and, on a CPU, random weights.
Both programs have biases and the tanh GELU, and no dropout, which llm.c does not have. cpu: fp32, 4 x 64 tokens, which
stand in llm.c's source. cuda: bf16, --batch x 1024 tokens, nothing computed again in backward. Medians of steps over
the rounds; the last line is llm.c's time / glint's. Exit status 1 if glint is slower.
"""
import argparse
import array
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LAYERS, CHANNELS, CONTEXT, VOCABULARY, PADDED = 12, 768, 1024, 50257, 50304
PARAMETERS = (PADDED + CONTEXT + LAYERS * (12 * CHANNELS + 13) + 2) * CHANNELS
TOKENS = 1 << 18
STEPS = 8  # timed in a round, after one that is not; llm.c's CPU program evaluates before step 10


def write(path, header, block, count):
    """256 integers, then `count` values from `block`, which is repeated."""
    with open(path, "wb") as file:
        array.array("i", header + [0] * (256 - len(header))).tofile(file)
        for begin in range(0, count, len(block)):
            block[:count - begin].tofile(file)


def write_inputs(folder, device):
    draw = random.Random(1)
    tokens = array.array("H", (draw.randrange(VOCABULARY) for _ in range(TOKENS)))
    data = folder / "dev/data/tinyshakespeare"
    data.mkdir(parents=True)
    for split in ("train", "val"):
        write(data / f"tiny_shakespeare_{split}.bin", [20240520, 1, TOKENS], tokens, TOKENS)
    if device == "cpu":
        block = array.array("f", (draw.gauss(0, 0.02) for _ in range(1 << 20)))
        write(folder / "gpt2_124M.bin", [20240326, 3, CONTEXT, VOCABULARY, LAYERS, 12, CHANNELS, PADDED], block,
              PARAMETERS)


def time_llmc(arguments, folder):
    """Milliseconds of each of STEPS steps."""
    if arguments.device == "cpu":
        command, pattern = [arguments.llmc / "train_gpt2"], r"took ([\d.]+) ms"
    else:
        data = folder / "dev/data/tinyshakespeare"
        flags = dict(e="d12", b=arguments.batch, t=CONTEXT, d=arguments.batch * CONTEXT, x=STEPS + 2, v=10 ** 6, m=1,
                     s=0, r=0, i=data / "tiny_shakespeare_train.bin", j=data / "tiny_shakespeare_val.bin")
        command = [arguments.llmc / "train_gpt2cu"] + [str(x) for name, value in flags.items()
                                                       for x in (f"-{name}", value)]
        pattern = r"\| ([\d.]+) ms \|"
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(arguments.threads)} if arguments.threads else {})}
    # Its output comes line by line only by way of a terminal or this.
    with subprocess.Popen(["stdbuf", "-oL", *command], cwd=folder, env=environment, stdout=subprocess.PIPE,
                          text=True) as run:
        times = []
        for line in run.stdout:
            if found := re.search(pattern, line):
                times.append(float(found[1]))
            if len(times) == STEPS + 1:
                run.kill()
                return times[1:]
    sys.exit(f"llm.c ended after {len(times)} steps, with status {run.returncode}")


def time_glint(arguments):
    flags = dict(device=arguments.device, layers=LAYERS, heads=12, embd=CHANNELS, vocab=PADDED, bias="true",
                 activation="tanh", steps=STEPS, threads=arguments.threads)
    if arguments.device == "cpu":
        flags |= dict(context=64, batch=4, dtype="fp32")
    else:
        flags |= dict(context=CONTEXT, batch=arguments.batch, dtype="bf16")
    command = [arguments.glint, "bench", "step", "--json"] + [str(x) for name, value in flags.items()
                                                              for x in (f"--{name}", value)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["median_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llmc", type=Path, help="a checkout of llm.c")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--glint", type=Path, default="build/glint", help="the program (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="on a CPU; 0: all")
    parser.add_argument("--batch", type=int, default=32, help="sequences a step on a GPU (default: %(default)s)")
    parser.add_argument("--make", nargs="*", default=[], metavar="NAME=VALUE", help="for llm.c's Makefile")
    arguments = parser.parse_args()
    arguments.llmc = arguments.llmc.resolve()
    target = "train_gpt2" if arguments.device == "cpu" else "train_gpt2cu"
    if not (arguments.llmc / target).exists():
        subprocess.run(["make", "-C", arguments.llmc, target, *arguments.make], check=True, stdout=subprocess.DEVNULL)
    llmc, glint = [], []
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), arguments.device)
        for _ in range(arguments.rounds):
            llmc += time_llmc(arguments, Path(folder))
            glint.append(time_glint(arguments))
    theirs, ours = statistics.median(llmc), statistics.median(glint)
    print(f"GPT-2 124M on {arguments.device}, ms a step: llm.c {theirs:.1f}, glint {ours:.1f}")
    print(f"llm.c / glint: {theirs / ours:.2f}")
    return 0 if theirs >= ours else 1


if __name__ == "__main__":
    sys.exit(main())
