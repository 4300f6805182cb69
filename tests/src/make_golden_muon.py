#!/usr/bin/env python3
"""Writes golden_muon.json: weights after three steps of torch.optim.Muon, for optimizer_test.cpp.

PyTorch 2.9 or later. `fp32` has Newton-Schulz in fp32, as glint on a CPU; `bf16` as PyTorch has it.
"""
import json
import pathlib

import torch

SHAPES = [(4, 8), (8, 8), (16, 8)]
STEPS, RATE, DECAY, MOMENTUM = 3, 0.02, 0.1, 0.95


def train(weights, gradients):
    parameters = [torch.nn.Parameter(weight.clone()) for weight in weights]
    optimizer = torch.optim.Muon(
        parameters, lr=RATE, weight_decay=DECAY, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
    )
    for step in gradients:
        for parameter, gradient in zip(parameters, step):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [[float(f"{value:.7g}") for value in parameter.detach().flatten().tolist()] for parameter in parameters]


def main():
    torch.manual_seed(20)
    weights = [(256 * torch.randn(shape)).round() / 1024 for shape in SHAPES]
    gradients = [[(64 * torch.randn(shape)).round() / 64 for shape in SHAPES] for _ in range(STEPS)]
    bf16 = train(weights, gradients)
    torch.Tensor.bfloat16 = lambda self: self.clone()
    fp32 = train(weights, gradients)
    golden = {
        "torch": torch.__version__,
        "rate": RATE,
        "weight_decay": DECAY,
        "momentum": MOMENTUM,
        "shapes": SHAPES,
        "weights": [weight.flatten().tolist() for weight in weights],
        "gradients": [[gradient.flatten().tolist() for gradient in step] for step in gradients],
        "fp32": fp32,
        "bf16": bf16,
    }
    path = pathlib.Path(__file__).with_name("golden_muon.json")
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
