#!/usr/bin/env python3
"""Times glint's training step against the same model in PyTorch, eager and compiled, in turn on one GPU: GPT-2 124M
with and without dropout, nanoGPT's Shakespeare model, GPT-2 350M, and a Llama with AdamW and with Muon (no biases;
MODELS has the shapes).

    python3 tests/gpu/bench_training.py --glint build-gpu/glint [--seconds 150] [--only Llama] [--json FILE]
        [--markdown FILE]

PyTorch trains as nanoGPT does: fp32 parameters, autocast to bf16, SDPA (its flash kernel), fused AdamW, clipped
gradients. glint: --dtype bf16, the step as a CUDA graph. Times are medians of steps over the rounds; ratios are
PyTorch's time / glint's: above 1, glint is faster. MFU counts 6 FLOPs per parameter and token and attention's products,
of the data sheet's peak. Then glint's step op by op, with the share of the peak of products or of bandwidth, and the
launch gaps: the part of the graph's step that no op accounts for; and steps with --loss-chunk. What there is no time
for is left out. Missed targets are reported, and are no failure.
--rehearse tries the script without a GPU, with a tiny model.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))
from pytorch_cpu import Optimizers, Step, model_of  # as the CPU benchmark's

STEPS = 10  # timed in a round
# Title, compiled PyTorch's time / glint's at least, layers, heads, channels, context, batch, vocabulary, dropout,
# steps.
MODELS = (Step("GPT-2 124M", 1.4, 12, 12, 768, 1024, 32, 50304, 0.1, STEPS, activation="tanh"),
          Step("Shakespeare 10.6M", 2.5, 6, 6, 384, 256, 64, 65, 0.2, STEPS),
          Step("Llama 124M", 1.3, 12, 12, 768, 1024, 32, 50304, 0.0, STEPS, model="llama"),
          Step("Llama 124M with Muon", 1.3, 12, 12, 768, 1024, 32, 50304, 0.0, STEPS, model="llama", optimizer="muon"),
          Step("GPT-2 124M", 1.4, 12, 12, 768, 1024, 32, 50304, 0.0, STEPS, activation="tanh"),
          Step("GPT-2 350M", 1.3, 24, 16, 1024, 1024, 16, 50304, 0.1, STEPS, activation="tanh"))
TINY = (Step("tiny", 0, 1, 2, 32, 16, 2, 65, 0.1, 1), Step("tiny", 0, 1, 2, 32, 16, 2, 65, 0.0, 1),
        Step("tiny Llama with Muon", 0, 1, 2, 32, 16, 2, 65, 0.0, 1, model="llama", optimizer="muon"))
COMPILE_SECONDS = 25  # PyTorch's, and its steps
MOST_GAPS = 0.03  # of the step
LOSS_CHUNKS = (0, 8192, 4096, 2048)  # rows; 0: whole logits


class TorchTraining:
    def __init__(self, row, device, compiled):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        self.row, self.device = row, device
        self.model = model_of(row).to(device)
        self.optimizers = Optimizers(self.model, row, betas=(0.9, 0.95))
        self.forward = torch.compile(self.model) if compiled else self.model
        self.tokens = torch.randint(row.vocab, (row.batch, row.context + 1), device=device)

    def step(self):
        x, y = self.tokens[:, :-1].contiguous(), self.tokens[:, 1:].contiguous()
        with torch.autocast(self.device, dtype=torch.bfloat16):
            loss = self.forward(x, y)
        loss.backward()
        self.optimizers.step()

    def milliseconds(self, steps):
        times = []
        for _ in range(steps):
            wait(self.device)
            start = time.perf_counter()
            self.step()
            wait(self.device)
            times.append(1e3 * (time.perf_counter() - start))
        return times


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def time_torch(row, device, compiled, rounds):
    """Median milliseconds of a step and the most bytes allocated; (None, None) if it fails, which is printed."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        training = TorchTraining(row, device, compiled)
        training.milliseconds(3)  # compiles, and warms up
        times = [ms for _ in range(rounds) for ms in training.milliseconds(STEPS)]
    except Exception:
        reason = traceback.format_exc().splitlines()[-1][:300]
        print(f"PyTorch {'compiled' if compiled else 'eager'}: {reason}", flush=True)
        return None, None
    return statistics.median(times), torch.cuda.max_memory_allocated() if device == "cuda" else 0


def run_glint(program, row, *more, steps=STEPS):
    """The output of `glint bench step --json`."""
    flags = dict(device="cuda", dtype="bf16", layers=row.layers, heads=row.heads, embd=row.embd, vocab=row.vocab,
                 context=row.context, batch=row.batch, dropout=row.dropout, activation=row.activation, model=row.model,
                 optimizer=row.optimizer, steps=steps)
    command = [program, "bench", "step", "--json", *more]
    command += [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def measure(row, device, arguments, left):
    """All figures of one row; `left()` says how many seconds remain."""
    found = {"model": row.title, "dropout": row.dropout, "target": row.target, "tokens": row.batch * row.context}
    glint = [run_glint(arguments.glint, row)]
    eager = time_torch(row, device, False, arguments.rounds) if left() > 1.5 * COMPILE_SECONDS else (None, None)
    found["eager_ms"], found["eager_bytes"] = eager
    compiled = time_torch(row, device, True, arguments.rounds) if left() > COMPILE_SECONDS else (None, None)
    found["compiled_ms"], found["compiled_bytes"] = compiled
    glint += [run_glint(arguments.glint, row) for _ in range(arguments.rounds - 1)]
    found["glint_ms"] = statistics.median(run["median_ms"] for run in glint)
    found["glint_bytes"] = glint[0]["device_bytes"]
    peak = glint[0]["peak_gflops"]
    flops = 1e6 * glint[0]["gflops"] * glint[0]["median_ms"]  # of a step
    for who in ("glint", "eager", "compiled"):
        ms = found[f"{who}_ms"]
        found[f"{who}_tokens_per_s"] = 1e3 * found["tokens"] / ms if ms else None
        found[f"{who}_mfu"] = flops / (1e6 * ms * peak) if ms else None
        found[f"{who}_ratio"] = ms / found["glint_ms"] if ms else None
    profile = run_glint(arguments.glint, row, "--profile", steps=3)
    found["ops"] = sorted(({"op": key[4:], "ms": value, "of_peak": profile["of peak: " + key[4:]]}
                           for key, value in profile.items() if key.startswith("ms: ")), key=lambda op: -op["ms"])
    found["bandwidth_gbytes"] = profile["bandwidth_gbytes"]
    found["gaps"] = 1 - sum(op["ms"] for op in found["ops"]) / found["glint_ms"]
    return found


def text(value, digits=2, scale=1.0, unit=""):
    return "n/a" if value is None else f"{scale * value:.{digits}f}{unit}"


def title_of(found):
    return f"{found['model']}, dropout {found['dropout']}"


def table(results):
    lines = ["| model, dropout | | ms | tokens/s | MFU | GB | PyTorch / glint |", "|---|---|---|---|---|---|---|"]
    for found in results:
        for who, title in (("glint", "glint"), ("eager", "PyTorch eager"), ("compiled", "PyTorch compiled")):
            cells = [text(found[f"{who}_ms"]), text(found[f"{who}_tokens_per_s"], 0),
                     text(found[f"{who}_mfu"], 0, 100, "%"), text(found[f"{who}_bytes"], 1, 1e-9),
                     text(found[f"{who}_ratio"])]
            lines.append(f"| {title_of(found)} | {title} | {' | '.join(cells)} |")
    for found in results:
        lines += ["", f"glint's step, {title_of(found)}: launch gaps {text(found['gaps'], 1, 100, '%')}; "
                  f"bandwidth {found['bandwidth_gbytes']:.0f} GB/s, measured.", "",
                  "| op | ms | share | of peak |", "|---|---|---|---|"]
        total = sum(op["ms"] for op in found["ops"])
        lines += [f"| {op['op']} | {op['ms']:.3f} | {100 * op['ms'] / total:.1f}% | {100 * op['of_peak']:.0f}% |"
                  for op in found["ops"]]
    return lines + [""]


def loss_chunks(program, row):
    """A table of steps with the loss by chunks of rows."""
    lines = ["| --loss-chunk | ms | GB |", "|---|---|---|"]
    for chunk in LOSS_CHUNKS:
        found = run_glint(program, row, "--loss-chunk", str(chunk))
        lines.append(f"| {chunk} | {text(found['median_ms'])} | {text(found['device_bytes'], 2, 1e-9)} |")
    return lines + [""]


def aims(results):
    """(aim, figure, whether it was met; None where there is no figure)."""
    found = []
    for result in results:
        wanted, ratio, gaps = result["target"], result["compiled_ratio"], result["gaps"]
        met = None if ratio is None else ratio >= wanted
        found.append((f"at least {wanted}x PyTorch compiled, {title_of(result)}", ratio, met))
        found.append((f"launch gaps under {MOST_GAPS:.0%}, {title_of(result)}", gaps, gaps < MOST_GAPS))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glint", required=True, help="the program")
    parser.add_argument("--seconds", type=float, default=150, help="start nothing after this long, %(default)s")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", metavar="TEXT", help="only models with TEXT in their title")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--markdown", help="write the tables to this file")
    parser.add_argument("--rehearse", action="store_true", help="a tiny model, PyTorch on the CPU")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    left = lambda: end - time.monotonic()
    if arguments.rehearse:
        device, models = "cpu", TINY
    elif torch.cuda.is_available():
        device, models = "cuda", MODELS
    else:
        sys.exit("bench_training: PyTorch sees no GPU")
    models = [row for row in models if arguments.only in row.title]
    if not models:
        sys.exit(f"bench_training: no model has {arguments.only!r} in its title")
    base, results, failures, left_out = models[0], [], [], []
    for row in models:
        if results and left() < 10:
            left_out = [f"No time left for {row.title}, dropout {row.dropout}.", ""]
            break
        try:
            results.append(measure(row, device, arguments, left))
        except RuntimeError as error:
            failures.append(f"{row.title}, dropout {row.dropout}: {error}".splitlines()[0])
            print(f"FAILED {failures[-1]}", flush=True)
    lines, found = table(results) + left_out, aims(results)
    try:
        lines += loss_chunks(arguments.glint, base) if left() > 15 else ["No time left for --loss-chunk.", ""]
    except RuntimeError as error:
        failures.append(f"loss by chunks: {error}".splitlines()[0])
    # The same tokens in sequences four times as long: memory that grows with T squared would show.
    try:
        times = (1, 2 if arguments.rehearse else 4)
        shapes = [replace(base, context=base.context * n, batch=base.batch // n) for n in times]
        short, long = (run_glint(arguments.glint, shape, steps=1)["device_bytes"] for shape in shapes)
        found.append(("memory for the same tokens in longer sequences at most 1.1x", long / short, long / short <= 1.1))
    except RuntimeError as error:
        failures.append(f"longer sequences: {error}".splitlines()[0])
    lines += [f"- {'n/a' if good is None else 'pass' if good else 'miss'}: {aim}: {text(figure, 3)}"
              for aim, figure, good in found]
    print("\n".join(lines))
    if arguments.markdown:
        Path(arguments.markdown).write_text("\n".join(lines) + "\n")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(dict(torch=torch.__version__, rows=results, failures=failures, aims=[
            dict(aim=aim, figure=figure, met=good) for aim, figure, good in found]), indent=1) + "\n")
    met, missed = (sum(good is value for _, _, good in found) for value in (True, False))
    print(f"aims: {met} met, {missed} missed{'; ' + failures[0] if failures else ''}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
