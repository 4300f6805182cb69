#!/usr/bin/env python3
"""Writes golden_gpt.json: losses and gradients of three tiny GPT-2s by PyTorch's autograd in float64.

    python3 make_golden_gpt.py [--check]        needs torch; --check also compares with transformers' GPT2LMHeadModel

Parameters, tokens and targets come from a hash of their names, which golden_test.cpp computes too, so that the file
holds results alone. Every parameter is a multiple of 2^-24 and so exact in float32.

Of a gradient the file holds: its largest magnitude and norm, all values if there are at most kAll, else kSamples of
them at hashed places and kProjections dot products with hashed vectors, which no misplaced value leaves as they are.
Beside them stands what PyTorch itself loses in float32, the yardstick of the test's bounds.
"""
import argparse
import json
import math
import os

import torch
import torch.nn.functional as F

kAll, kSamples, kProjections = 64, 16, 4

VARIANTS = [
    dict(name="bias, tanh", bias=True, activation="tanh", kv_heads=2),
    dict(name="no bias, erf", bias=False, activation="erf", kv_heads=2),
    dict(name="grouped queries", bias=True, activation="erf", kv_heads=1),
]
SIZES = dict(vocab=17, context=8, layers=2, heads=2, embd=16)
B, T = 3, 7  # shorter than the context: the last row of wpe must get no gradient


def hashed(name, i):
    """32 bits: MurmurHash3's finaliser (A. Appleby) over FNV-1a of the name and the index."""
    x = 0x811C9DC5
    for byte in name.encode():
        x = ((x ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (x + i * 0x9E3779B9) & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return x ^ (x >> 16)


def uniform(name, n):
    """In [-0.5, 0.5), multiples of 2^-24."""
    return torch.tensor([(hashed(name, i) >> 8) / 2**24 - 0.5 for i in range(n)], dtype=torch.float64)


def tokens(name, vocab):
    return torch.tensor([hashed(name, i) % vocab for i in range(B * T)]).view(B, T)


def parameter_shapes(c):
    C, HS = c["embd"], c["embd"] // c["heads"]
    linear = {
        "attn.c_attn": (C, (c["heads"] + 2 * c["kv_heads"]) * HS),
        "attn.c_proj": (C, C),
        "mlp.c_fc": (C, 4 * C),
        "mlp.c_proj": (4 * C, C),
    }
    shapes = {"wte.weight": (c["vocab"], C), "wpe.weight": (c["context"], C)}
    norms = ["ln_f"]
    for layer in range(c["layers"]):
        norms += [f"h.{layer}.ln_1", f"h.{layer}.ln_2"]
        for part, (rows, columns) in linear.items():
            shapes[f"h.{layer}.{part}.weight"] = (rows, columns)
            if c["bias"]:
                shapes[f"h.{layer}.{part}.bias"] = (columns,)
    for norm in norms:
        shapes[norm + ".weight"] = (C,)
        if c["bias"]:
            shapes[norm + ".bias"] = (C,)
    return shapes


def make_parameters(c, dtype):
    parameters = {}
    for name, shape in parameter_shapes(c).items():
        value = uniform(name, math.prod(shape))
        if ".ln_" in "." + name and name.endswith(".weight"):
            value = 1 + value
        parameters[name] = value.view(shape).to(dtype).requires_grad_()
    return parameters


def losses_of(c, p, x, y):
    """The model, plainly: (B, T) tokens and targets -> (B, T) losses in nats."""
    C, NH, NKV = c["embd"], c["heads"], c["kv_heads"]
    HS = C // NH
    gelu = "tanh" if c["activation"] == "tanh" else "none"

    def linear(name, h):
        return h @ p[name + ".weight"] + (p[name + ".bias"] if c["bias"] else 0)

    def norm(name, h):
        return F.layer_norm(h, (C,), p[name + ".weight"], p[name + ".bias"] if c["bias"] else None, 1e-5)

    h = p["wte.weight"][x] + p["wpe.weight"][:T]
    masked = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    for layer in range(c["layers"]):
        at = f"h.{layer}."
        q, k, v = linear(at + "attn.c_attn", norm(at + "ln_1", h)).split([NH * HS, NKV * HS, NKV * HS], -1)
        q = q.view(B, T, NH, HS).transpose(1, 2)
        k, v = (t.view(B, T, NKV, HS).transpose(1, 2).repeat_interleave(NH // NKV, 1) for t in (k, v))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(HS)).masked_fill(masked, -math.inf)
        out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
        h = h + linear(at + "attn.c_proj", out)
        wide = F.gelu(linear(at + "mlp.c_fc", norm(at + "ln_2", h)), approximate=gelu)
        h = h + linear(at + "mlp.c_proj", wide)
    logits = norm("ln_f", h) @ p["wte.weight"].T
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(B, T)


def run(c, dtype):
    p = make_parameters(c, dtype)
    losses = losses_of(c, p, tokens("tokens", c["vocab"]), tokens("targets", c["vocab"]))
    losses.mean().backward()
    return losses.detach().flatten().double(), {name: value.grad.flatten().double() for name, value in p.items()}


def projections(name, gradient):
    return torch.stack([gradient @ uniform(f"{name} projection {k}", len(gradient)) for k in range(kProjections)])


def rounded(values):
    return [float(f"{value:.9g}") for value in values.tolist()]


def golden(variant, run=run):
    c = {**SIZES, **variant}
    losses, gradients = run(c, torch.float64)
    losses32, gradients32 = run(c, torch.float32)
    record = {**c, "losses": rounded(losses), "gradients": {}}
    value_error = projection_error = 0.0
    for name, gradient in gradients.items():
        n, largest, norm = len(gradient), gradient.abs().max().item(), gradient.norm().item()
        entry = {"largest": float(f"{largest:.9g}"), "norm": float(f"{norm:.9g}")}
        if n <= kAll:
            entry["values"] = rounded(gradient)
        else:
            entry["samples"] = rounded(gradient[[hashed(name + " samples", k) % n for k in range(kSamples)]])
            entry["projections"] = rounded(projections(name, gradient))
            lost = projections(name, gradients32[name]) - projections(name, gradient)
            projection_error = max(projection_error, lost.abs().max().item() / norm)
        value_error = max(value_error, (gradients32[name] - gradient).abs().max().item() / largest)
        record["gradients"][name] = entry
    record["float32"] = {
        "losses": float(f"{(losses32 - losses).abs().max().item():.3g}"),  # absolute, nats
        "values": float(f"{value_error:.3g}"),  # worst of all tensors, relative to its largest value
        "projections": float(f"{projection_error:.3g}"),  # relative to the norm
    }
    return record


def check_with_transformers(variant):
    """The script's model against Hugging Face's, whose parameter names and shapes it claims to have."""
    from transformers import GPT2Config, GPT2LMHeadModel

    c = {**SIZES, **variant}
    if c["kv_heads"] != c["heads"]:
        return  # not in GPT-2
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=c["vocab"], n_positions=c["context"], n_embd=c["embd"], n_layer=c["layers"], n_head=c["heads"],
        activation_function="gelu_new" if c["activation"] == "tanh" else "gelu", bos_token_id=None, eos_token_id=None,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="eager")).double()
    p = make_parameters(c, torch.float64)
    own = dict(model.transformer.named_parameters())
    assert c["bias"] is False or own.keys() == p.keys(), own.keys() ^ p.keys()
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(p[name]) if name in p else value.zero_()
    logits = model(tokens("tokens", c["vocab"])).logits
    loss = F.cross_entropy(logits.flatten(0, 1), tokens("targets", c["vocab"]).flatten())
    loss.backward()
    losses, gradients = run(c, torch.float64)
    worst = max((own[name].grad.flatten() - g).abs().max() / g.abs().max() for name, g in gradients.items())
    print(f"{c['name']}: loss {losses.mean():.12f}, transformers {loss:.12f}; "
          f"worst relative gradient difference {worst:.1e}")
    assert abs(losses.mean() - loss) < 1e-12 and worst < 1e-10


def write(path, models):
    """JSON with a line for each tensor."""
    with open(path, "w") as file:
        file.write(f'{{"made_with": "PyTorch {torch.__version__.split("+")[0]}", "B": {B}, "T": {T}, "models": [\n')
        for model in models:
            gradients = model.pop("gradients")
            lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in gradients.items()]
            file.write(json.dumps(model)[:-1] + ', "gradients": {\n' + ",\n".join(lines) + "\n}}")
            file.write("]}\n" if model is models[-1] else ",\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with transformers as well")
    if parser.parse_args().check:
        for variant in VARIANTS:
            check_with_transformers(variant)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden_gpt.json")
    write(path, [golden(variant) for variant in VARIANTS])


if __name__ == "__main__":
    main()
