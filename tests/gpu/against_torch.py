#!/usr/bin/env python3
"""Compares glint's CUDA attention with PyTorch's flash kernel: masks bit for bit, for the same seed and offset;
outputs, log-sum-exp and gradients of each set of kernels in bf16 by FlashAttention's own rule: against float64 with the
same mask, an error at most twice (gradients: three times) that of PyTorch's flash kernel.

    python3 tests/gpu/against_torch.py --attention-case build-gpu/attention_case --glint build-gpu/glint [--json FILE]

Without a GPU PyTorch has no flash kernel: then a few small cases are compared with the definition computed in bf16. The
last line is "N passed, N failed"; --markdown FILE gets a table.
"""
import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from torch_attention import by_definition, by_flash, check_known_masks, keep_mask, visible

KERNELS = ("flash", "flash-sm80")  # the fastest here, and mma.sync's
ALLOWED = dict(out=2, lse=2, dq=3, dk=3, dv=3)


@dataclass
class Case:
    B: int
    NH: int
    NKV: int
    T: int
    HS: int
    causal: bool
    p: float
    seed: int = 20261205  # of the random numbers that PyTorch draws
    offset: int = 0  # where its dropout begins

    def draw(self, device):
        generator = torch.Generator().manual_seed(self.T + self.HS)
        make = lambda heads: torch.randn(self.B, heads, self.T, self.HS, generator=generator).bfloat16().to(device)
        self.q, self.k, self.v, self.dout = make(self.NH), make(self.NKV), make(self.NKV), make(self.NH)
        self.scale = 1 / math.sqrt(self.HS)

    def title(self):
        heads = f"{self.NH}" if self.NH == self.NKV else f"{self.NH}/{self.NKV}"
        return f"B {self.B}, heads {heads}, T {self.T}, D {self.HS}, {'causal' if self.causal else 'full'}, p {self.p}"


CARRY = 0xFFFFFFE0  # the offsets of a few heads on, the lower 32 bits overflow
GPU_CASES = [
    Case(2, 3, 3, 257, 64, True, 0.1),
    Case(1, 2, 2, 512, 128, False, 0.2, seed=0x1234567890ABCDEF),
    Case(2, 4, 4, 1024, 64, True, 0.1, offset=CARRY),
    Case(1, 2, 2, 200, 32, True, 0.5),
    Case(1, 3, 3, 129, 96, False, 0.1),
    Case(2, 4, 2, 384, 64, True, 0.1),
    Case(1, 2, 1, 1000, 128, True, 0.3),
    Case(1, 2, 2, 1024, 128, True, 0.0),
    Case(1, 2, 2, 333, 64, False, 0.0),
    Case(1, 16, 16, 2048, 64, True, 0.1),
    Case(1, 8, 8, 2048, 128, True, 0.1),
]
CPU_CASES = [
    Case(2, 3, 3, 65, 64, True, 0.1, offset=CARRY),
    Case(1, 4, 2, 40, 32, False, 0.5, seed=0x1234567890ABCDEF),
    Case(1, 1, 1, 129, 128, True, 0.0),
]


def run_glint(program, kernel, x, seed, offset):
    """The results of glint's kernels of this name, in PyTorch's shapes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = dict(dtype="bf16", B=x.B, T=x.T, NH=x.NH, NKV=x.NKV, HS=x.HS, causal=int(x.causal), scale=x.scale,
                      p=x.p, seed=seed or 0, offset=offset or 0)
        (folder / "case.txt").write_text("".join(f"{name} {value}\n" for name, value in values.items()))
        for name in ("q", "k", "v", "dout"):
            tokens_first = getattr(x, name).transpose(1, 2).contiguous().cpu()
            tokens_first.view(torch.int16).numpy().tofile(folder / name)
        done = subprocess.run([program, "--kernel", kernel, folder], stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or f"attention_case ended with status {done.returncode}")
        results = {}
        for name, heads in dict(out=x.NH, dq=x.NH, dk=x.NKV, dv=x.NKV).items():
            array = torch.from_numpy(numpy.fromfile(folder / name, numpy.int16)).view(torch.bfloat16)
            results[name] = array.reshape(x.B, x.T, heads, x.HS).transpose(1, 2).to(x.q.device)
        lse = numpy.fromfile(folder / "lse", numpy.float32).reshape(x.B, x.NH, x.T)
        results["lse"] = torch.from_numpy(lse).to(x.q.device)
        return results


def glint_mask(program, x, seed, offset, b, h):
    """The keep mask (T, T) that the bf16 kernel applies to one head, by `glint mask`."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "mask.pbm"
        flags = {"p": x.p, "seed": seed, "offset": offset, "batch-index": b, "heads": x.NH, "head": h, "rows": x.T,
                 "cols": x.T, "device": "cuda", "dtype": "bf16", "out": picture}
        command = [program, "mask"] + [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        width = (x.T + 7) // 8
        bits = numpy.frombuffer(picture.read_bytes()[-width * x.T:], numpy.uint8)  # behind the PBM's header
        return numpy.unpackbits(bits.reshape(x.T, width), axis=1)[:, :x.T] == 0  # black, 1, is dropped


def largest_error(values, truth):
    error = (values.double() - truth).abs().max().item()
    return math.inf if math.isnan(error) else error


def listed(figures, digits):
    return ", ".join(f"{name} {value:.{digits}g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in figures.items())


class Report:
    """The checks and their results."""

    def __init__(self):
        self.rows, self.failed = [], 0

    def add(self, case, what, good, **figures):
        self.rows.append(dict(case=case, what=what, passed=bool(good), **figures))
        self.failed += not good
        print(f"{'ok' if good else 'FAILED'} {case}: {what}: {listed(figures, 4)}", flush=True)

    def markdown(self):
        lines = ["| case | what | | figures |", "|---|---|---|---|"]
        for row in self.rows:
            figures = listed({name: value for name, value in row.items() if name not in ("case", "what", "passed")}, 3)
            passed = "passed" if row["passed"] else "**FAILED**"
            lines.append(f"| {row['case']} | {row['what']} | {passed} | {figures} |")
        return "\n".join(lines) + "\n"


def check(x, arguments, report):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x.draw(device)
    seed, offset, drawn = x.seed, x.offset, None
    if device == "cuda":
        torch.cuda.manual_seed(x.seed)
        if x.offset:
            torch.cuda.default_generators[torch.cuda.current_device()].set_offset(x.offset)
        yardstick, seed, offset, drawn = by_flash(x)
    mask = None
    if x.p > 0:
        defined = keep_mask(seed, offset, x.p, x.B, x.NH, x.T, x.T)
        mask = torch.from_numpy(defined).reshape(x.B, x.NH, x.T, x.T).to(device)
        if drawn is not None:
            wrong = ((mask != drawn) & visible(x.T, x.causal, device)).sum().item()
            report.add(x.title(), "mask: the definition against PyTorch's flash", wrong == 0, different=wrong,
                       seed=seed, offset=offset)
        for b, h in {(0, 0), (x.B - 1, x.NH - 1)}:
            kept = glint_mask(arguments.glint, x, seed, offset, b, h)
            wrong = int((kept != defined.reshape(mask.shape)[b, h]).sum())
            report.add(x.title(), f"mask: the kernel against the definition, sequence {b}, head {h}", wrong == 0,
                       different=wrong)
    truth = by_definition(x, mask, torch.float64)
    if device == "cpu":
        yardstick = by_definition(x, mask, torch.bfloat16) | dict(lse=by_definition(x, mask, torch.float32)["lse"])
    for kernel in KERNELS:
        glint = run_glint(arguments.attention_case, kernel, x, seed, offset)
        for name, factor in ALLOWED.items():
            # The log-sum-exp is fp32 in both: a few units in the last place.
            slack = 8 * 2.0**-24 * truth[name].abs().max().item() if name == "lse" else 0.0
            error, theirs = largest_error(glint[name], truth[name]), largest_error(yardstick[name], truth[name])
            report.add(x.title(), f"{kernel}: {name}", error <= factor * theirs + slack, error=error, theirs=theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attention-case", required=True, help="the program")
    parser.add_argument("--glint", required=True, help="the program")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--markdown", help="write a table to this file")
    arguments = parser.parse_args()
    check_known_masks()
    report = Report()
    on_gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if on_gpu else "the CPU: no flash kernel there"
    print(f"PyTorch {torch.__version__} on {where}", flush=True)
    for x in GPU_CASES if on_gpu else CPU_CASES:
        try:
            check(x, arguments, report)
        except Exception as error:  # run the other cases
            report.add(x.title(), "could not be run", False, error=f"{type(error).__name__}: {error}".splitlines()[0])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report.rows, indent=1) + "\n")
    if arguments.markdown:
        Path(arguments.markdown).write_text(report.markdown())
    print(f"{len(report.rows) - report.failed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
