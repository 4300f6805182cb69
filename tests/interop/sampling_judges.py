"""transformers' logits processors as judges of `glint sample`: greedy tokens with a repetition penalty, the tokens that
temperature, top-k, top-p and min-p leave, their frequencies, and log probabilities.

    GLINT=build/glint python tests/interop/sampling_judges.py

Trains a small run and loads its weights. Needs transformers, torch and safetensors.
"""

import json
import os
import subprocess
import sys
import tempfile

try:
    import torch
    from safetensors.torch import load_file
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.generation.logits_process import (
        LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
        TopKLogitsWarper, TopPLogitsWarper)
except ImportError as missing:
    print(f"sampling_judges.py: skipped, {missing}")
    sys.exit(0)

GLINT = os.environ.get("GLINT", "build/glint")
DRAWS = 4000


def check(holds, what):
    if not holds:
        print(f"sampling_judges.py: {what}")
        sys.exit(1)


def sample(run, *flags):
    command = [GLINT, "sample", run, "--json", "--logprobs", "3", "--device", "cpu", *map(str, flags)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def loaded(run):
    with open(f"{run}/config.json") as file:
        options = json.load(file)
    weights = load_file(f"{run}/best/model.safetensors")
    config = GPT2Config(vocab_size=weights["wte.weight"].shape[0], n_positions=options["context"],
                        n_embd=options["embd"], n_layer=options["layers"], n_head=options["heads"],
                        activation_function="gelu", bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval()
    missing, unexpected = model.transformer.load_state_dict(weights, strict=False)
    check(not missing and not unexpected, f"other weights: {missing} {unexpected}")
    return model


def main():
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        options = "--layers 2 --heads 2 --embd 32 --context 64 --steps 200 --bias true --device cpu --quiet".split()
        subprocess.run([GLINT, "train", "--out", run, *options], check=True)
        model = loaded(run)
        prompt = "the old "
        with open(f"{run}/tokenizer.json") as file:
            characters = json.load(file)["characters"]
        unknown = len(characters)
        ids = torch.tensor([[characters.index(c) for c in prompt]])
        # Greedy, up to the context's end.
        with torch.inference_mode():
            for penalty in (1.0, 1.3, 0.8):
                got = sample(run, "--prompt", prompt, "--tokens", 50, "--temperature", 0,
                             "--repetition-penalty", penalty)
                expected = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=50,
                                          min_new_tokens=50, repetition_penalty=penalty, suppress_tokens=[unknown],
                                          pad_token_id=0)
                check([token["id"] for token in got[0]["logprobs"]] == expected[0, ids.shape[1]:].tolist(),
                      f"repetition penalty {penalty}: other tokens")
            logits = model(ids).logits[0, -1:]
        logits = logits.clone()
        logprobs = torch.log_softmax(logits[0], 0)
        top = got[0]["logprobs"][0]["top"]
        best = torch.topk(logprobs, 3)
        check([entry["id"] for entry in top] == best.indices.tolist(), "other tokens are the likeliest")
        check(all(abs(entry["logprob"] - p) < 1e-4 for entry, p in zip(top, best.values.tolist())), "other logprobs")
        # The first token of many texts.
        logits[0, unknown] = -float("inf")
        cases = [(1.0, 0, 1.0, 0.0, 1.0), (0.7, 5, 1.0, 0.0, 1.0), (1.5, 0, 0.8, 0.0, 1.0), (1.0, 0, 1.0, 0.1, 1.0),
                 (1.3, 12, 0.9, 0.2, 1.0), (1.0, 8, 0.95, 0.05, 1.5)]
        for temperature, k, p, min_p, penalty in cases:
            processors = [RepetitionPenaltyLogitsProcessor(penalty), TemperatureLogitsWarper(temperature)]
            processors += [TopKLogitsWarper(k)] if k else []
            processors += [TopPLogitsWarper(p)] if p < 1 else []
            processors += [MinPLogitsWarper(min_p)] if min_p else []
            probabilities = torch.softmax(LogitsProcessorList(processors)(ids, logits.clone()), -1)[0]
            got = sample(run, "--prompt", prompt, "--tokens", 1, "--count", DRAWS, "--batch", 64, "--temperature",
                         temperature, "--top-k", k, "--top-p", p, "--min-p", min_p, "--repetition-penalty", penalty)
            drawn = torch.bincount(torch.tensor([text["logprobs"][0]["id"] for text in got]),
                                   minlength=len(probabilities)).double()
            case = f"temperature {temperature}, top-k {k}, top-p {p}, min-p {min_p}, penalty {penalty}"
            check(not drawn[probabilities == 0].any(), f"{case}: a token that transformers removes")
            kept = probabilities > 0
            deviation = (drawn - DRAWS * probabilities).abs() / (DRAWS * probabilities * (1 - probabilities)).sqrt()
            check(kept.sum() == 1 or deviation[kept].max() < 5, f"{case}: other frequencies")
            check(drawn[probabilities > 0.005].all(), f"{case}: a token is never drawn")
        print(f"sampling_judges.py: 3 greedy texts, log probabilities and {len(cases)} settings are transformers'")


main()
