"""transformers: its GPT-2s imported, and runs exported for it."""
import filecmp
import json
import os
import shutil

from judging import TEXT, check, done, folder, greedy, logits, need, run, trained

numpy, torch, transformers, safetensors, _ = need("numpy", "torch", "transformers", "safetensors.torch", "tokenizers")
torch.set_num_threads(2)


def random_gpt2(place, tokens=256, context=64, **config):
    """A GPT-2 with random weights, also where transformers would have zeros or ones."""
    config = transformers.GPT2Config(vocab_size=tokens, n_positions=context, bos_token_id=None, eos_token_id=None,
                                     **{"n_embd": 64, "n_layer": 3, "n_head": 4, **config})
    torch.manual_seed(7)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(place)
    return model


def theirs(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def difference(a, b):
    """The largest, relative to the largest logit."""
    return float(numpy.abs(a - b).max() / numpy.abs(b).max())


def rewrite(place, change):
    path = place + "/model.safetensors"
    safetensors.save_file(change(safetensors.load_file(path)), path, {"format": "pt"})


def judge_import(scratch, byte_run):
    """Variants of the shape, of names and of number formats."""
    run("export", byte_run, "--out", scratch + "/bytes")  # for its tokenizer
    ids = numpy.random.default_rng(3).integers(0, 256, 60).tolist()
    plain = lambda tensors: {name.removeprefix("transformer."): t for name, t in tensors.items()}
    masks = lambda tensors: tensors | {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril() for i in range(3)} | {
        f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(3)}
    cases = {
        "gelu_new": ({}, None), "gelu": ({"activation_function": "gelu"}, None),
        "untied head": ({"tie_word_embeddings": False}, None),
        "epsilon 1e-3": ({"layer_norm_epsilon": 1e-3}, None),
        "names without a prefix, masks": ({}, lambda tensors: masks(plain(tensors))),
        "fp16": ({}, lambda tensors: {name: t.half() for name, t in tensors.items()}),
        "bf16": ({}, lambda tensors: {name: t.bfloat16() for name, t in tensors.items()}),
        "320 rows for 256 tokens": ({"tokens": 320}, None),
    }
    for name, (config, change) in cases.items():
        place, out = f"{scratch}/their {name}", f"{scratch}/import {name}"
        random_gpt2(place, **config)
        if change:
            rewrite(place, change)
        model = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        run("import", place, "--out", out, "--tokenizer", scratch + "/bytes/tokenizer.json")
        far = difference(logits(out, ids), theirs(model, ids)[:, :256])
        check(far < 2e-6, f"import, {name}: logits within {far:.1e}")
    place = scratch + "/sharded"
    model = random_gpt2(place)
    model.save_pretrained(place, max_shard_size="200KB")
    os.remove(place + "/model.safetensors")
    for path in (place, place + "/model.safetensors.index.json"):
        out = f"{scratch}/import shards {os.path.basename(path)}"
        run("import", path, "--out", out, "--tokenizer", scratch + "/bytes/tokenizer.json")
        far = difference(logits(out, ids), theirs(model, ids))
        check(far < 2e-6, f"import, shards by {os.path.basename(path)}: logits within {far:.1e}")


def judge_llama_import(scratch):
    for name, config in {"tied": {}, "untied head, grouped queries, theta": {
            "tie_word_embeddings": False, "num_key_value_heads": 2, "rope_parameters": {
                "rope_type": "default", "rope_theta": 700.0}}}.items():
        place, out = f"{scratch}/their Llama {name}", f"{scratch}/import Llama {name}"
        torch.manual_seed(8)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{
            "vocab_size": 256, "max_position_embeddings": 64, "hidden_size": 96, "intermediate_size": 256,
            "num_hidden_layers": 3, "num_attention_heads": 4, "tie_word_embeddings": True, **config})).eval()
        model.save_pretrained(place)
        run("import", place, "--out", out, "--tokenizer", scratch + "/bytes/tokenizer.json")
        ids = numpy.random.default_rng(4).integers(0, 256, 60).tolist()
        far = difference(logits(out, ids), theirs(model, ids))
        check(far < 2e-6, f"import, Llama, {name}: logits within {far:.1e}")


def judge_pickles(scratch):
    """The two lines that glint names write what it imports."""
    for name, wrap in {"pytorch_model.bin": lambda w: w,
                       "ckpt.pt": lambda w: {"model": {
                           "_orig_mod." + k: v.T.clone() if ".c_" in k and v.dim() == 2 else v
                           for k, v in w.items()}}}.items():
        place = f"{scratch}/pickle {name}"
        model = random_gpt2(place)
        torch.save(wrap(model.state_dict()), f"{place}/{name}")
        os.remove(place + "/model.safetensors")
        error = run("import", place, "--out", scratch + "/refused", fails=True)
        lines = error.splitlines()
        here = os.getcwd()
        os.chdir(place)
        exec("\n".join(line.strip() for line in lines[-2:]), {})
        os.chdir(here)
        out = f"{scratch}/import {name}"
        run("import", place, "--out", out, "--tokenizer", scratch + "/bytes/tokenizer.json")
        ids = list(range(0, 250, 7))
        far = difference(logits(out, ids), theirs(model, ids))
        check("pickle" in lines[0] and far < 2e-6, f"{name}: refused, and converted by the lines named")


def judge_export(scratch, path, what, exact=True):
    """transformers loads what glint wrote, and computes and writes the same."""
    for dtype in ("fp32", "bf16"):
        out = f"{path}-{dtype}"
        run("export", path, "--out", out, "--dtype", dtype)
        model = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
        check(model.dtype == (torch.float32 if dtype == "fp32" else torch.bfloat16), f"export, {what}: is {dtype}")
        ids = tokenizer(TEXT[:60]).input_ids
        if dtype == "fp32":
            far = difference(theirs(model, ids), logits(path, ids))
            check(far < 2e-6, f"export, {what}: logits within {far:.1e}")
            if exact:
                for text in (TEXT, " \n\t  \n", "aé\n日 🙂"):
                    back = tokenizer.decode(tokenizer(text).input_ids)
                    check(back == text, f"export, {what}: {text[:12]!r} comes back")
            prompt = torch.tensor([ids[:8]])
            with torch.no_grad():
                told = model.generate(prompt, max_new_tokens=40, do_sample=False)[0]
            text = tokenizer.decode(told, skip_special_tokens=True)
            check(text == greedy(path, TEXT[:60][:len(tokenizer.decode(ids[:8]))], 40), f"export, {what}: greedy text")
        again, twice = f"{out}-again", f"{out}-twice"
        run("import", out, "--out", again)
        run("export", again, "--out", twice, "--dtype", dtype)
        same, differ, odd = filecmp.cmpfiles(out, twice, os.listdir(out), shallow=False)
        check(len(same) == 5 and not differ and not odd, f"export, {what}, {dtype}: the same bytes once imported")
        if dtype == "fp32":
            best = path + ("/best" if os.path.exists(path + "/best") else "/last")
            check(filecmp.cmp(best + "/model.safetensors", again + "/last/model.safetensors", shallow=False),
                  f"export, {what}: the run's bytes once imported")
    model = transformers.AutoModelForCausalLM.from_pretrained(path + "/best").eval()
    end = transformers.AutoConfig.from_pretrained(path + "-fp32").eos_token_id
    check(model.config.eos_token_id == end, f"{path}/best: eos_token_id is not the export's, {end}")
    far = difference(theirs(model, ids), logits(path, ids))
    check(far < 2e-6, f"a checkpoint itself, {what}: logits within {far:.1e}")


def judge_ids(scratch, path, what):
    """Ids equal glint's, by the tokens that glint stores of the same text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path + "-fp32")
    run("data", "prepare", path + ".txt", "--tokenizer-from", path, "--out", path + "-data")
    with open(path + "-data/tokens.bin", "rb") as file:
        stored = file.read()
    ids = numpy.array(tokenizer(TEXT).input_ids)
    found = any(numpy.array_equal(numpy.frombuffer(stored[len(stored) - len(ids) * width:], kind), ids)
                for kind, width in ((numpy.uint8, 1), (numpy.uint16, 2), (numpy.uint32, 4)))
    check(found, f"export, {what}: the ids of {len(TEXT)} characters are glint's")


def judge_refusals(scratch):
    place = scratch + "/refused model"
    tokenizer = ("--tokenizer", scratch + "/bytes/tokenizer.json")
    refused = lambda: run("import", place, "--out", scratch + "/refused", *tokenizer, fails=True)

    def case(word, config=None, tensors=None):
        shutil.rmtree(place, ignore_errors=True)
        random_gpt2(place)
        if tensors:
            rewrite(place, tensors)
        if config:
            with open(place + "/config.json") as file:
                known = json.load(file)
            with open(place + "/config.json", "w") as file:
                json.dump({**known, **config}, file)
        error = refused()
        check(word in error and error.count("\n") == 1 and not os.path.exists(scratch + "/refused"), error.strip())

    case("MistralForCausalLM", {"architectures": ["MistralForCausalLM"], "model_type": "mistral"})
    case("relu", {"activation_function": "relu"})
    case("n_inner 100", {"n_inner": 100})
    case("scale_attn_by_inverse_layer_idx", {"scale_attn_by_inverse_layer_idx": True})
    case("does not have h.2.mlp.c_fc.weight", None,
         lambda t: {k: v for k, v in t.items() if k != "transformer.h.2.mlp.c_fc.weight"})
    case("score.weight, which is not part", None, lambda t: t | {"score.weight": torch.zeros(2, 64)})
    case("[64, 192]", {"n_embd": 64},
         lambda t: {k: v.T.contiguous() if "c_attn.weight" in k else v for k, v in t.items()})
    case("I64", None, lambda t: {k: v.long() if k.endswith("ln_f.bias") else v for k, v in t.items()})


with folder() as scratch:
    characters = trained(scratch + "/characters", "--activation", "tanh", "--dropout", 0.1)
    byte = trained(scratch + "/bytes-run", "--bias", "true", "--vocab-multiple", 64, tokenizer="byte")
    untied = trained(scratch + "/untied", "--tie-embeddings", "false", "--vocab-multiple", 64, "--norm-epsilon", 1e-3)
    bpe = trained(scratch + "/bpe", "--vocab", 400, "--vocab-multiple", 64, tokenizer="bpe")
    judge_import(scratch, byte)
    judge_pickles(scratch)
    judge_export(scratch, characters, "characters, no biases, tanh")
    judge_export(scratch, byte, "bytes, biases, padded")
    judge_export(scratch, untied, "untied head, padded")
    llama = trained(scratch + "/llama", "--model", "llama", "--kv-heads", 1, "--rope-theta", 500,
                    "--norm-epsilon", 1e-3)
    judge_export(scratch, llama, "Llama, grouped queries")
    llama = trained(scratch + "/llama-untied", "--model", "llama", "--tie-embeddings", "false", "--vocab-multiple", 64,
                    "--optimizer", "muon", tokenizer="byte")
    judge_export(scratch, llama, "Llama, bytes, untied head, padded, by Muon")
    judge_llama_import(scratch)
    judge_export(scratch, bpe, "bpe, padded")
    for path, what in ((characters, "characters"), (byte, "bytes"), (bpe, "bpe")):
        judge_ids(scratch, path, what)
    judge_refusals(scratch)
    grouped = trained(scratch + "/grouped", "--kv-heads", 1)
    error = run("export", grouped, "--out", scratch + "/grouped-hf", fails=True)
    check("grouped-query" in error, error.strip())
done()
