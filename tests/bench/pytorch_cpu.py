#!/usr/bin/env python3
"""Times glint's training step and attention against PyTorch's CPU build, in turn, and checks the targets of each row.

    python3 tests/bench/pytorch_cpu.py [--rows char,...] [--dtype fp32|bf16] [--threads 2] [--rounds 3]
        [--glint build/glint]

Needs torch. Each round runs PyTorch and then glint, so that both see the machine in the same state; the medians over
the rounds are compared. --dtype bf16: PyTorch's autocast. The exit status is 1 if a target is missed, all of fp32.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Step:
    """One optimizer step of a model; `steps` of them are timed in a round."""
    title: str
    target: float  # PyTorch time / glint time, at least
    layers: int
    heads: int
    embd: int
    context: int
    batch: int
    vocab: int
    dropout: float
    steps: int
    peak_gb: float = 0  # glint's peak memory, at most; 0: not checked
    activation: str = "erf"  # GPT-2's GELU: exact, or tanh
    model: str = "gpt2"  # or llama
    optimizer: str = "adamw"  # or muon, torch.optim.Muon


@dataclass
class Attention:
    """Forward and backward of causal attention, B 1, H 12, D 64."""
    title: str
    target: float
    dropout: float
    context: int = 1024
    heads: int = 12
    head_size: int = 64
    batch: int = 1
    steps: int = 20


ROWS = {
    "char": Step("char 4/4/128, T 64, B 12, p 0", 1.8, 4, 4, 128, 64, 12, 65, 0.0, 40),
    "char-dropout": Step("char 4/4/128, T 64, B 12, p 0.2", 3.0, 4, 4, 128, 64, 12, 65, 0.2, 40),
    "gpu-recipe": Step("6/6/384, T 256, B 8, p 0.2", 2.0, 6, 6, 384, 256, 8, 65, 0.2, 2),
    "124m-short": Step("124M, B 4, T 64, p 0", 1.3, 12, 12, 768, 64, 4, 50304, 0.0, 3, peak_gb=2.6),
    "124m-long": Step("124M, B 1, T 1024, p 0.1", 1.8, 12, 12, 768, 1024, 1, 50304, 0.1, 1),
    "llama": Step("Llama 6/6/384, T 256, B 8", 1.8, 6, 6, 384, 256, 8, 65, 0.0, 2, model="llama"),
    "llama-muon": Step("the same, Muon", 1.2, 6, 6, 384, 256, 8, 65, 0.0, 2, model="llama", optimizer="muon"),
    "attention": Attention("attention H 12, D 64, T 1024, p 0", 1.3, 0.0),
    "attention-dropout": Attention("attention H 12, D 64, T 1024, p 0.1", 5.0, 0.1),
}
kDropoutCost = 1.2  # glint's attention with dropout / without, at most


class Block(nn.Module):
    def __init__(self, row):
        super().__init__()
        C = row.embd
        self.heads, self.p, self.gelu = row.heads, row.dropout, "tanh" if row.activation == "tanh" else "none"
        self.ln_1, self.ln_2 = nn.LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)
        self.c_attn, self.attn_proj = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.c_fc, self.mlp_proj = nn.Linear(C, 4 * C, bias=False), nn.Linear(4 * C, C, bias=False)
        self.drop = nn.Dropout(row.dropout)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in self.c_attn(self.ln_1(x)).split(C, -1))
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p, is_causal=True)
        x = x + self.drop(self.attn_proj(out.transpose(1, 2).reshape(B, T, C)))
        return x + self.drop(self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate=self.gelu)))


class Gpt(nn.Module):
    def __init__(self, row):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(row.vocab, row.embd), nn.Embedding(row.context, row.embd)
        self.drop = nn.Dropout(row.dropout)
        self.blocks = nn.Sequential(*(Block(row) for _ in range(row.layers)))
        self.ln_f = nn.LayerNorm(row.embd, bias=False)
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * row.layers) if "proj" in name else 0.02)

    def forward(self, x, y):
        h = self.drop(self.wte(x) + self.wpe.weight[:x.shape[1]])
        logits = self.ln_f(self.blocks(h)) @ self.wte.weight.T  # the tied head
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())


class LlamaBlock(nn.Module):
    def __init__(self, row):
        super().__init__()
        C, hidden = row.embd, -(-8 * row.embd // 3 // 64) * 64
        self.heads = row.heads
        self.ln_1, self.ln_2 = nn.RMSNorm(C, eps=1e-5), nn.RMSNorm(C, eps=1e-5)
        self.q, self.k, self.v, self.o = (nn.Linear(C, C, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(C, hidden, bias=False), nn.Linear(C, hidden, bias=False)
        self.down = nn.Linear(hidden, C, bias=False)
        size = C // row.heads
        angle = torch.arange(row.context)[:, None] / 10000 ** (torch.arange(0, size, 2) / size)
        self.register_buffer("cos", torch.cos(angle).repeat(1, 2))
        self.register_buffer("sin", torch.sin(angle).repeat(1, 2))

    def rotate(self, x):
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat((-b, a), -1) * self.sin

    def forward(self, x):
        B, T, C = x.shape
        h = self.ln_1(x)
        q, k, v = (linear(h).view(B, T, self.heads, -1).transpose(1, 2) for linear in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        x = x + self.o(out.transpose(1, 2).reshape(B, T, C))
        h = self.ln_2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, row):
        super().__init__()
        self.wte = nn.Embedding(row.vocab, row.embd)
        self.blocks = nn.Sequential(*(LlamaBlock(row) for _ in range(row.layers)))
        self.norm = nn.RMSNorm(row.embd, eps=1e-5)
        for p in self.parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, x, y):
        logits = self.norm(self.blocks(self.wte(x))) @ self.wte.weight.T
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())


def model_of(row):
    torch.manual_seed(1)
    return Llama(row) if row.model == "llama" else Gpt(row)


class Optimizers:
    """AdamW, and Muon for the matrices of layers where the row wants it; as glint trains."""

    def __init__(self, model, row, betas=(0.9, 0.99)):
        self.parameters = list(model.parameters())
        matrices = [p for p in model.blocks.parameters() if p.dim() >= 2] if row.optimizer == "muon" else []
        rest = [p for p in self.parameters if not any(p is m for m in matrices)]
        groups = [dict(params=[p for p in rest if p.dim() >= 2], weight_decay=0.1),
                  dict(params=[p for p in rest if p.dim() < 2], weight_decay=0.0)]
        self.optimizers = [torch.optim.AdamW(groups, lr=1e-4, betas=betas, fused=True)]
        if matrices:
            self.optimizers.append(torch.optim.Muon(matrices, lr=1e-4, adjust_lr_fn="match_rms_adamw"))

    def step(self):
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


class TorchStep:
    def __init__(self, row, bf16):
        self.row, self.model = row, model_of(row)
        self.optimizers = Optimizers(self.model, row)
        self.data = torch.randint(row.vocab, (1 << 16,))
        self.bf16 = bf16

    def __call__(self):
        T = self.row.context
        at = torch.randint(len(self.data) - T - 1, (self.row.batch,))
        x = torch.stack([self.data[i:i + T] for i in at])
        y = torch.stack([self.data[i + 1:i + 1 + T] for i in at])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.model(x, y)
        loss.backward()
        self.optimizers.step()
        return loss.item()


class TorchAttention:
    def __init__(self, row, bf16):
        torch.manual_seed(1)
        shape = (row.batch, row.heads, row.context, row.head_size)
        self.row = row
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.qkv = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]
        self.dout = torch.randn(shape, dtype=dtype)

    def __call__(self):
        out = F.scaled_dot_product_attention(*self.qkv, dropout_p=self.row.dropout, is_causal=True)
        torch.autograd.grad(out, self.qkv, self.dout)


def time_torch(work, steps):
    """Milliseconds of each of `steps` calls, after one to warm up."""
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return times[1:]


def run_glint(arguments, row):
    """The output of `glint bench ... --json`."""
    command = [arguments.glint, "bench", "step" if isinstance(row, Step) else "attention", "--json", "--device", "cpu",
               "--threads", str(arguments.threads), "--dtype", arguments.dtype]
    flags = dict(heads=row.heads, context=row.context, batch=row.batch, dropout=row.dropout)
    if isinstance(row, Step):
        flags |= dict(layers=row.layers, embd=row.embd, vocab=row.vocab, steps=row.steps,
                      activation=row.activation, model=row.model, optimizer=row.optimizer)
    else:
        flags |= {"head-size": row.head_size, "causal": "true"}
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"failed with status {done.returncode}: {' '.join(command)}")
    return json.loads(done.stdout)


def measure(arguments, row):
    """Median milliseconds (PyTorch, glint), and glint's peak bytes."""
    work = (TorchStep if isinstance(row, Step) else TorchAttention)(row, arguments.dtype == "bf16")
    torch_times, glint_times, peak = [], [], 0
    for _ in range(arguments.rounds):
        torch_times += time_torch(work, row.steps)
        time.sleep(0.5)  # PyTorch's threads spin for a while before they sleep
        result = run_glint(arguments, row)
        glint_times.append(result["median_ms" if isinstance(row, Step) else "total_ms"])
        peak = max(peak, result.get("peak_bytes", 0))
    return statistics.median(torch_times), statistics.median(glint_times), peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="which, by name (default: all: %(default)s)")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--glint", default="build/glint", help="the program (default: %(default)s)")
    arguments = parser.parse_args()
    names = arguments.rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}")

    torch.set_num_threads(arguments.threads)
    print(f"PyTorch {torch.__version__}, {arguments.threads} threads, {arguments.dtype}, ms "
          f"(median of {arguments.rounds} rounds)\n")
    print(f"{'work':<40}{'PyTorch':>10}{'glint':>10}{'ratio':>8}{'target':>9}")
    glint_ms, missed = {}, 0

    def mark(good):
        nonlocal missed
        missed += not good
        return "pass" if good else "FAIL"

    for name in names:
        row = ROWS[name]
        torch_ms, glint_ms[name], peak = measure(arguments, row)
        ratio = torch_ms / glint_ms[name]
        print(f"{row.title:<40}{torch_ms:>10.1f}{glint_ms[name]:>10.1f}{ratio:>8.2f}{row.target:>8.1f}x  "
              f"{mark(ratio >= row.target)}", flush=True)
        if getattr(row, "peak_gb", 0):
            print(f"{'  peak memory, GB':<40}{'':>10}{peak / 1e9:>10.2f}{'':>8}{'< %.1f' % row.peak_gb:>9}  "
                  f"{mark(0 < peak / 1e9 < row.peak_gb)}", flush=True)
    if {"attention", "attention-dropout"} <= glint_ms.keys():
        cost = glint_ms["attention-dropout"] / glint_ms["attention"]
        print(f"{'attention: dropout / no dropout':<40}{'':>10}{'':>10}{cost:>8.2f}{'<= %.1f' % kDropoutCost:>9}  "
              f"{mark(cost <= kDropoutCost)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
