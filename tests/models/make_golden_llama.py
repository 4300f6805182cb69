#!/usr/bin/env python3
"""Writes golden_llama.json: losses and gradients of two tiny Llamas, as make_golden_gpt.py does of GPT-2s.

    python3 make_golden_llama.py [--check]      needs torch; --check also compares with transformers' LlamaForCausalLM
"""
import argparse
import math
import os

import torch
import torch.nn.functional as F
from make_golden_gpt import B, SIZES, T, golden, tokens, uniform, write

VARIANTS = [
    dict(name="Llama", kv_heads=2, rope_theta=10000.0),
    dict(name="Llama, grouped queries", kv_heads=1, rope_theta=100.0),
]
EPSILON = 1e-5


def parameter_shapes(c):
    C, HS = c["embd"], c["embd"] // c["heads"]
    H = (8 * C // 3 + 63) // 64 * 64
    shapes = {"model.embed_tokens.weight": (c["vocab"], C), "model.norm.weight": (C,)}
    for layer in range(c["layers"]):
        at = f"model.layers.{layer}."
        for name, shape in {
            "input_layernorm": (C,),
            "self_attn.q_proj": (C, C),
            "self_attn.k_proj": (c["kv_heads"] * HS, C),
            "self_attn.v_proj": (c["kv_heads"] * HS, C),
            "self_attn.o_proj": (C, C),
            "post_attention_layernorm": (C,),
            "mlp.gate_proj": (H, C),
            "mlp.up_proj": (H, C),
            "mlp.down_proj": (C, H),
        }.items():
            shapes[at + name + ".weight"] = shape
    return shapes


def make_parameters(c, dtype):
    parameters = {}
    for name, shape in parameter_shapes(c).items():
        value = uniform(name, math.prod(shape)) + (len(shape) == 1)
        parameters[name] = value.view(shape).to(dtype).requires_grad_()
    return parameters


def rotated(x, theta):
    """(B, heads, T, HS): channels i and i + HS / 2 turn by position * theta^(-2 i / HS)."""
    half = x.shape[-1] // 2
    angles = torch.arange(T, dtype=x.dtype)[:, None] * theta ** (-torch.arange(half, dtype=x.dtype) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def losses_of(c, p, x, y):
    C, NH, NKV = c["embd"], c["heads"], c["kv_heads"]
    HS = C // NH

    def norm(name, h):
        return h * (h.pow(2).mean(-1, keepdim=True) + EPSILON).rsqrt() * p[name + ".weight"]

    h = p["model.embed_tokens.weight"][x]
    masked = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    for layer in range(c["layers"]):
        at = f"model.layers.{layer}."
        normed = norm(at + "input_layernorm", h)
        q, k, v = (
            (normed @ p[f"{at}self_attn.{part}_proj.weight"].T).view(B, T, -1, HS).transpose(1, 2) for part in "qkv"
        )
        q, k = rotated(q, c["rope_theta"]), rotated(k, c["rope_theta"])
        k, v = (t.repeat_interleave(NH // NKV, 1) for t in (k, v))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(HS)).masked_fill(masked, -math.inf)
        out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
        h = h + out @ p[at + "self_attn.o_proj.weight"].T
        normed = norm(at + "post_attention_layernorm", h)
        gate, up = (normed @ p[f"{at}mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        h = h + (F.silu(gate) * up) @ p[at + "mlp.down_proj.weight"].T
    logits = norm("model.norm", h) @ p["model.embed_tokens.weight"].T
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(B, T)


def run(c, dtype):
    p = make_parameters(c, dtype)
    losses = losses_of(c, p, tokens("tokens", c["vocab"]), tokens("targets", c["vocab"]))
    losses.mean().backward()
    return losses.detach().flatten().double(), {name: value.grad.flatten().double() for name, value in p.items()}


def check_with_transformers(variant):
    from transformers import LlamaConfig, LlamaForCausalLM

    c = {**SIZES, **variant}
    shapes = parameter_shapes(c)
    config = LlamaConfig(
        vocab_size=c["vocab"], max_position_embeddings=c["context"], hidden_size=c["embd"],
        num_hidden_layers=c["layers"], num_attention_heads=c["heads"], num_key_value_heads=c["kv_heads"],
        intermediate_size=shapes["model.layers.0.mlp.up_proj.weight"][0], rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": c["rope_theta"]}, tie_word_embeddings=True,
        attn_implementation="eager")
    model = LlamaForCausalLM(config).double()
    p, own = make_parameters(c, torch.float64), dict(model.named_parameters())
    assert own.keys() == p.keys(), own.keys() ^ p.keys()
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(p[name])
    logits = model(tokens("tokens", c["vocab"])).logits
    loss = F.cross_entropy(logits.flatten(0, 1), tokens("targets", c["vocab"]).flatten())
    loss.backward()
    losses, gradients = run(c, torch.float64)
    worst = max((own[name].grad.flatten() - g).abs().max() / g.abs().max() for name, g in gradients.items())
    print(f"{c['name']}: loss {losses.mean():.12f}, transformers {loss:.12f}; "
          f"worst relative gradient difference {worst:.1e}")
    # transformers computes the angles, their sines and the norms in float32.
    assert abs(losses.mean() - loss) < 1e-6 and worst < 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with transformers as well")
    if parser.parse_args().check:
        for variant in VARIANTS:
            check_with_transformers(variant)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden_llama.json")
    write(path, [golden(variant, run) for variant in VARIANTS])


if __name__ == "__main__":
    main()
