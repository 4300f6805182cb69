"""llama.cpp's file format, by its own reader; and llama.cpp, where it is there."""
import importlib.util

from judging import TEXT, check, done, folder, greedy, need, run, trained

numpy, gguf, safetensors = need("numpy", "gguf", "safetensors.numpy")

NAMES = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "lm_head": "output", "ln_1": "attn_norm",
         "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up",
         "mlp.c_proj": "ffn_down"}
LLAMA = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
         "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TYPES = {"fp32": gguf.GGMLQuantizationType.F32, "fp16": gguf.GGMLQuantizationType.F16,
         "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    block = ""
    for layers in ("h.", "model.layers."):
        if stem.startswith(layers):
            layer, stem = stem.removeprefix(layers).split(".", 1)
            block = f"blk.{layer}."
    return f"{block}{(NAMES | LLAMA)[stem]}.{kind}"


def neighbours(values, head_size):
    """Rows of query or key heads, of which llama.cpp turns neighbours and Hugging Face the two halves."""
    return values.reshape(-1, 2, head_size // 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def judge_file(run_folder, path, dtype, what):
    reader = gguf.GGUFReader(path)
    text = lambda key: reader.fields[key].contents()
    tensors = {t.name: t for t in reader.tensors}
    weights = safetensors.load_file(run_folder + "/best/model.safetensors")
    same = 0
    for name, values in weights.items():
        got = tensors.pop(gguf_name(name))
        values = values.T if ".c_" in name and values.ndim == 2 else values
        values = neighbours(values, 32) if "q_proj" in name or "k_proj" in name else values
        kept = TYPES["fp32"] if values.ndim == 1 or name == "wpe.weight" else TYPES[dtype]
        theirs = gguf.quants.quantize(numpy.ascontiguousarray(values), kept)
        same += got.tensor_type == kept and list(got.shape) == list(values.shape[::-1]) and (
            got.data.tobytes() == theirs.tobytes())
    zero = all(not t.data.any() and name.endswith(".bias") for name, t in tensors.items())
    check(same == len(weights) and zero, f"{what}, {dtype}: {same} of {len(weights)} tensors have gguf's own bytes")
    tokens = text("tokenizer.ggml.tokens")
    kind = "llama" if "model.norm.weight" in weights else "gpt2"
    embedding = weights["model.embed_tokens.weight" if kind == "llama" else "wte.weight"]
    check(text("general.architecture") == kind and len(tokens) == len(embedding) and
          text(kind + ".context_length") == 64, f"{what}, {dtype}: {len(tokens)} tokens, {len(reader.fields)} fields")


def judge_llama(run_folder, path, dtype, what, prompts):
    import llama_cpp
    llama = llama_cpp.Llama(path, n_ctx=64, n_threads=2, verbose=False, logits_all=False, type_k=0, type_v=0)
    same = 0
    for prompt in prompts:
        ids = llama.tokenize(prompt.encode(), add_bos=False)
        told = llama.create_completion(prompt, max_tokens=40, temperature=0)["choices"][0]["text"]
        expected = greedy(run_folder, prompt, 40)[len(prompt):]
        same += told == expected
        if told != expected:
            print(f"        {prompt!r} ({len(ids)} tokens): llama.cpp {told!r}, glint {expected!r}")
    enough = len(prompts) if dtype in ("fp32", "fp16") else len(prompts) // 2  # coarser weights may choose otherwise
    check(same >= enough, f"{what}, {dtype}: llama.cpp writes glint's text after {same} of {len(prompts)} prompts")


with folder() as scratch:
    prompts = ["Who ", "the cat", "It's  late;\n", "naïve café", "日本"]
    runs = {"characters": trained(scratch + "/characters", "--activation", "tanh"),
            "bytes, biases": trained(scratch + "/bytes", "--activation", "tanh", "--bias", "true", tokenizer="byte"),
            "bpe": trained(scratch + "/bpe", "--activation", "tanh", "--vocab", 400, tokenizer="bpe"),
            "untied": trained(scratch + "/untied", "--activation", "tanh", "--tie-embeddings", "false",
                              "--vocab-multiple", 64),
            "Llama": trained(scratch + "/llama", "--model", "llama", "--kv-heads", 1, "--rope-theta", 500),
            "Llama, bytes, untied": trained(scratch + "/llama-bytes", "--model", "llama", "--tie-embeddings", "false",
                                            tokenizer="byte")}
    has_llama = importlib.util.find_spec("llama_cpp")
    for what, path in runs.items():
        for dtype in TYPES:
            out = f"{path}-{dtype}.gguf"
            run("export", path, "--format", "gguf", "--dtype", dtype, "--out", out)
            judge_file(path, out, dtype, what)
            if has_llama:
                judge_llama(path, out, dtype, what, prompts)
    if not has_llama:
        print("        llama.cpp: skipped, there is no llama_cpp")
    error = run("export", runs["untied"], "--format", "gguf", "--out", out, fails=True)
    check("already" in error, error.strip())
done()
