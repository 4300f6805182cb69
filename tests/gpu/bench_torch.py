#!/usr/bin/env python3
"""Times glint's CUDA attention against PyTorch's flash kernel (FlashAttention-2) and cuDNN's, in turn on one GPU, so
that clocks agree: forward and backward, bf16, causal; GPT-2 124M's shape, and 16384 tokens with 2048 channels.

    python3 tests/gpu/bench_torch.py --glint build-gpu/glint [--seconds 150] [--json FILE] [--markdown FILE]

Times are medians over the rounds, between CUDA events, of enough calls to keep the GPU busy, after a warm-up. A round
takes all shapes; what is left of the rounds is left out when the time is up. Ratios are the other's time / glint's:
above 1, glint is faster. A backend that does not support a case is n/a. The targets, printed beside the ratios, are for
Hopper's kernels; missing one is no failure. --rehearse tries the script without a GPU, with tiny shapes.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
DIRECTIONS = ("forward", "backward")
TOKENS, CHANNELS = 16384, 2048
BUSY_MS = 3  # at least this long is one timing
REPEATS = 5  # timings a round
DROPOUT_COST = {"forward": 1.20, "backward": 1.25}  # time with dropout / without, at most; for D 64, T 1024


def target(row, direction, backend):
    """The other's time / glint's, at least; None: no target. For H100 and H200."""
    if backend == "flash" and row.p > 0:
        return 1.8 if direction == "forward" and row.D == 128 and row.T >= 2048 else 1.5
    if backend == "cudnn" and row.p == 0 and row.T >= 1024:
        return 1.1 if direction == "backward" else 1.0
    return None


@dataclass
class Row:
    T: int
    D: int
    p: float
    tokens: int = TOKENS
    channels: int = CHANNELS
    ms: dict = field(default_factory=dict)  # (glint or backend, "forward" or "backward") -> milliseconds of each round

    def __post_init__(self):
        self.B, self.H = max(1, self.tokens // self.T), self.channels // self.D

    def title(self):
        return f"B {self.B}, {self.H} x {self.D}, T {self.T}, p {self.p}"

    def shape(self):
        return self.B, self.H, self.D, self.T

    def tflop(self, direction):
        return (2.5 if direction == "backward" else 1) * 4e-12 * self.B * self.H * self.T**2 * self.D / 2

    def median(self, who, direction):
        times = self.ms.get((who, direction))
        return statistics.median(times) if times else None

    def ratio(self, who, direction):
        theirs, ours = self.median(who, direction), self.median("glint", direction)
        return theirs / ours if theirs and ours else None

    def tflops(self, who, direction):
        ms = self.median(who, direction)
        return 1e3 * self.tflop(direction) / ms if ms else None


class GpuClock:
    def milliseconds(self, call, calls):
        torch.cuda.synchronize()
        torch.cuda._sleep(2_000_000)  # cycles, in which the calls queue up, so that Python's time does not count
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls


class CpuClock:
    def milliseconds(self, call, calls):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return 1e3 * (time.perf_counter() - start) / calls


def timings(clock, call):
    call()
    once = clock.milliseconds(call, 1)
    calls = min(100, max(1, round(BUSY_MS / once)))
    clock.milliseconds(call, calls)
    return [clock.milliseconds(call, calls) for _ in range(REPEATS)]


def time_torch(row, name, clock, device):
    """Milliseconds of forward and of backward, or nothing if the backend does not support the case."""
    make = lambda: torch.randn(row.B, row.T, row.H, row.D, device=device, dtype=torch.bfloat16).transpose(1, 2)
    q, k, v, dout = make().requires_grad_(), make().requires_grad_(), make().requires_grad_(), make()
    with sdpa_kernel(BACKENDS[name]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # why a backend does not support the case
        forward = lambda: F.scaled_dot_product_attention(q, k, v, dropout_p=row.p, is_causal=True)
        try:
            out = forward()
            backward = lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)
            backward()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return
        row.ms.setdefault((name, "forward"), []).append(statistics.median(timings(clock, forward)))
        row.ms.setdefault((name, "backward"), []).append(statistics.median(timings(clock, backward)))


def time_glint(row, program):
    flags = {"device": "cuda", "dtype": "bf16", "batch": row.B, "heads": row.H, "head-size": row.D, "context": row.T,
             "dropout": row.p, "causal": "true", "repeats": REPEATS}
    command = [program, "bench", "attention", "--json"]
    command += [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    figures = json.loads(done.stdout)
    row.ms.setdefault(("glint", "forward"), []).append(figures["forward_ms"])
    row.ms.setdefault(("glint", "backward"), []).append(figures["backward_ms"])


def matmul_tflops(clock, device, n):
    """The device's peak in bf16, measured on random numbers."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2e-9 * n**3 / statistics.median(timings(clock, lambda: a @ b))


def number(value, digits=2):
    return "n/a" if value is None else f"{value:.{digits}f}"


def ratio(row, direction, name):
    """With its target in brackets, and bold where it is missed."""
    value, wanted = row.ratio(name, direction), target(row, direction, name)
    if value is None or wanted is None:
        return number(value)
    return f"{value:.2f} ({wanted})" if value >= wanted else f"**{value:.2f}** ({wanted})"


def table(rows, peak):
    lines = [f"bf16 matrix products reach {peak:.0f} TFLOP/s here (the peak of the shares). "
             "Ratios: the other's time / glint's (target), bold where missed.", ""]
    others = " | ".join(f"{name} TFLOP/s | ratio" for name in BACKENDS)
    for direction in DIRECTIONS:
        lines += [f"| {direction}: B, heads x D | T | p | glint ms | TFLOP/s | of peak | {others} |",
                  "|---|" + "---|" * (5 + 2 * len(BACKENDS))]
        for row in rows:
            speed = row.tflops("glint", direction)
            share = "n/a" if speed is None else f"{100 * speed / peak:.0f}%"
            shape = f"{row.B}, {row.H} x {row.D}"
            cells = [shape, row.T, row.p, number(row.median("glint", direction), 3), number(speed, 0), share]
            for name in BACKENDS:
                cells += [number(row.tflops(name, direction), 0), ratio(row, direction, name)]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        lines.append("")
    return lines


def aims(rows):
    """(aim, figure, whether it was met; None where there is no figure), one for each row and aim."""
    found = []
    plain = {row.shape(): row for row in rows if row.p == 0}
    for row in rows:
        for direction in DIRECTIONS:
            for name in BACKENDS:
                wanted, figure = target(row, direction, name), row.ratio(name, direction)
                if wanted is not None:
                    met = None if figure is None else figure >= wanted
                    found.append((f"{direction} at least {wanted}x {name}, {row.title()}", figure, met))
            if row.p > 0 and row.shape() in plain and (row.D, row.T) == (64, 1024):
                ours, without = row.median("glint", direction), plain[row.shape()].median("glint", direction)
                cost, most = ours / without if ours and without else None, DROPOUT_COST[direction]
                met = None if cost is None else cost <= most
                found.append((f"dropout costs at most {100 * (most - 1):.0f}% {direction}, {row.title()}", cost, met))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glint", required=True, help="the program")
    parser.add_argument("--seconds", type=float, default=150, help="start nothing after this long, %(default)s")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--markdown", help="write the tables to this file")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes, PyTorch on the CPU")
    arguments = parser.parse_args()
    start = time.monotonic()
    if arguments.rehearse:
        clock, device, size = CpuClock(), "cpu", 256
        todo = [Row(T, 32, p, tokens=64, channels=64) for T in (32, 64) for p in (0.1, 0.0)]
    elif torch.cuda.is_available():
        clock, device, size = GpuClock(), "cuda", 8192
        todo = [Row(1024, 64, p, tokens=32 * 1024, channels=768) for p in (0.1, 0.0)]  # GPT-2 124M
        todo += [Row(T, D, p) for T in (1024, 4096, 2048, 512, 8192) for D in (64, 128) for p in (0.1, 0.0)]
    else:
        sys.exit("bench_torch: PyTorch sees no GPU")
    peak = matmul_tflops(clock, device, size)
    failed, left_out = {}, []
    for number_of_round in range(arguments.rounds):
        for row in todo:
            if row.title() in failed:
                continue
            if time.monotonic() - start > arguments.seconds:
                left_out += [row.title()] if number_of_round == 0 else []
                continue
            try:
                for name in BACKENDS:
                    time_torch(row, name, clock, device)
                time_glint(row, arguments.glint)
            except Exception as error:
                failed[row.title()] = f"{row.title()}: {type(error).__name__}: {error}".splitlines()[0]
                print(f"FAILED {failed[row.title()]}", flush=True)
                continue
            times = [f"{who} {number(row.median(who, 'forward'), 3)}/{number(row.median(who, 'backward'), 3)} ms"
                     for who in ("glint", *BACKENDS)]
            print(f"{row.title()}: {', '.join(times)}", flush=True)
    rows, failures = [row for row in todo if row.ms], list(failed.values())
    rows.sort(key=lambda row: (row.channels, row.D, row.T, row.p))
    lines = table(rows, peak)
    if left_out:
        lines += [f"No time left for {'; '.join(left_out)}.", ""]
    found = aims(rows)
    lines += [f"- {'n/a' if good is None else 'pass' if good else 'miss'}: {aim}: {number(figure)}"
              for aim, figure, good in found]
    print("\n".join(lines))
    if arguments.markdown:
        Path(arguments.markdown).write_text("\n".join(lines) + "\n")
    if arguments.json:
        figures = []
        for row in rows:
            figure = dict(D=row.D, T=row.T, p=row.p, B=row.B, heads=row.H)
            for direction in DIRECTIONS:
                figure |= {f"{who}_{direction}_ms": row.median(who, direction) for who in ("glint", *BACKENDS)}
                figure |= {f"{direction}_of_{name}": row.ratio(name, direction) for name in BACKENDS}
                figure[f"{direction}_tflops"] = row.tflops("glint", direction)
            figures.append(figure)
        Path(arguments.json).write_text(json.dumps(dict(
            torch=torch.__version__, matmul_tflops=peak, rows=figures, failures=failures,
            aims=[dict(aim=aim, figure=figure, met=good) for aim, figure, good in found]), indent=1) + "\n")
    met, missed = (sum(good is value for _, _, good in found) for value in (True, False))
    print(f"aims: {met} met, {missed} missed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
