"""optrode beside other tools: the same weights, tokens and jobs, in turns, on one machine.

    python3 -m venv peers && peers/bin/pip install -r benches/peers/requirements.txt
    cargo build --release --example bench_jobs --bin optrode
    peers/bin/python benches/peers/peers.py FOLDER > table.md

FOLDER gets a random checkpoint of SmolLM-135M's shape if there is none. `--tiny` makes a small one instead, to try
the script; `--rounds N` and `--only JOB` do what they say. Every tool is a process of its own that holds its model and
does the job once for each line that it is sent; in a round each tool does it once, and the table gives medians over
rounds, with ratios from the pairs of a round. Progress goes to stderr.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BATCH = (8, 128)
PROMPT, NEW = 16, 64

# Job, what is counted, our variants, peers.
JOBS = [
    ("forward", "tokens/s", ["f32"], ["hf", "tl"]),
    ("statistics", "tokens/s", ["f32"], ["hf", "tl", "nnsight"]),
    ("record", "tokens/s", ["f32"], ["tl"]),
    ("patch", "ms", ["f32"], ["hf", "tl"]),
    ("decode", "tokens/s", ["f32", "bf16"], ["hf", "tl"]),
    ("sweep", "ms", ["f32"], ["tl"]),
]


def say(*what):
    print(*what, file=sys.stderr, flush=True)


# ---- the checkpoint


def sizes(tiny):
    return dict(
        hidden_size=48 if tiny else 576,
        intermediate_size=128 if tiny else 1536,
        num_hidden_layers=12 if tiny else 30,
        num_attention_heads=3 if tiny else 9,
        num_key_value_heads=1 if tiny else 3,
        vocab_size=512 if tiny else 49152,
    )


def make(folder, tiny):
    """Random weights under Hugging Face's names, and a tokenizer of single bytes."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    s = sizes(tiny)
    d, m = s["hidden_size"], s["intermediate_size"]
    kv = d // s["num_attention_heads"] * s["num_key_value_heads"]
    torch.manual_seed(0)
    weights = {"model.embed_tokens.weight": torch.randn(s["vocab_size"], d) * 0.02, "model.norm.weight": torch.ones(d)}
    for layer in range(s["num_hidden_layers"]):
        shapes = {
            "self_attn.q_proj": (d, d),
            "self_attn.k_proj": (kv, d),
            "self_attn.v_proj": (kv, d),
            "self_attn.o_proj": (d, d),
            "mlp.gate_proj": (m, d),
            "mlp.up_proj": (m, d),
            "mlp.down_proj": (d, m),
        }
        for name, shape in shapes.items():
            weights[f"model.layers.{layer}.{name}.weight"] = torch.randn(*shape) * 0.02
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = torch.ones(d)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = dict(
        s,
        architectures=["LlamaForCausalLM"],
        model_type="llama",
        hidden_act="silu",
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=0,
        eos_token_id=0,
        torch_dtype="float32",
    )
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    words = ["<|endoftext|>"] + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


# ---- the peers; each class holds a model and has a method for each job that it takes part in


def ids(rows, pos):
    """The tokens of benches/work/mod.rs."""
    import torch

    return torch.tensor([[(r * 7919 + p * 104729) % 250 for p in range(pos)] for r in range(rows)])


class Sums:
    """Mean and variance of every neuron, as running sums."""

    def __init__(self):
        self.sums = {}

    def add(self, name, x):
        x = x.detach().flatten(0, 1)
        total, squares = self.sums.get(name, (0, 0))
        self.sums[name] = (total + x.sum(0), squares + (x * x).sum(0))


class HF:
    def __init__(self, folder):
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()

    def forward(self):
        self.model(ids(*BATCH), use_cache=False)
        return BATCH[0] * BATCH[1]

    def statistics(self):
        sums = Sums()
        hooks = [
            layer.mlp.gate_proj.register_forward_hook(lambda _m, _i, out, n=n: sums.add(n, out))
            for n, layer in enumerate(self.model.model.layers)
        ]
        self.model.model(ids(*BATCH), use_cache=False)
        for hook in hooks:
            hook.remove()
        return BATCH[0] * BATCH[1]

    def patch(self):
        def scale(_module, args):
            args[0][:, 7] *= 0.5

        hook = self.model.model.layers[10].register_forward_pre_hook(scale)
        self.model(ids(1, PROMPT), use_cache=False)
        hook.remove()
        return PROMPT

    def decode(self):
        def scale(_module, args):
            args[0][..., 3] *= 0.5

        hooks = [layer.mlp.down_proj.register_forward_pre_hook(scale) for layer in self.model.model.layers]
        prompt = ids(1, PROMPT)
        self.model.generate(
            prompt, attention_mask=prompt * 0 + 1, do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW, pad_token_id=0
        )
        for hook in hooks:
            hook.remove()
        return NEW


class TL:
    def __init__(self, folder):
        from transformer_lens.model_bridge import TransformerBridge

        self.model = TransformerBridge.boot_transformers(folder, device="cpu")
        self.model.enable_compatibility_mode(no_processing=True)

    def forward(self):
        self.model(ids(*BATCH))
        return BATCH[0] * BATCH[1]

    def statistics(self):
        sums = Sums()
        hook = (lambda name: name.endswith("mlp.hook_pre"), lambda x, hook: sums.add(hook.name, x))
        self.model.run_with_hooks(ids(*BATCH), return_type=None, fwd_hooks=[hook])
        if not sums.sums:
            raise RuntimeError("no hook named mlp.hook_pre was called")
        return BATCH[0] * BATCH[1]

    def record(self):
        self.model.run_with_cache(ids(*BATCH))
        return BATCH[0] * BATCH[1]

    def patch(self):
        def scale(x, hook):
            x[:, 7] *= 0.5
            return x

        self.model.run_with_hooks(ids(1, PROMPT), fwd_hooks=[("blocks.10.hook_resid_pre", scale)])
        return PROMPT

    def sweep(self):
        base, source = ids(2, PROMPT).split(1)
        _, cache = self.model.run_with_cache(source, names_filter=lambda name: name.endswith("hook_resid_pre"))
        done = 0
        for block in range(self.model.cfg.n_layers):
            name = f"blocks.{block}.hook_resid_pre"
            for at in range(PROMPT):

                def patch(x, hook, at=at, clean=cache[name]):
                    x[:, at] = clean[:, at]
                    return x

                logits = self.model.run_with_hooks(base, fwd_hooks=[(name, patch)])[0, -1]
                float(logits[100] - logits[200])
                done += 1
        return done

    def decode(self):
        def scale(x, hook):
            x[..., 3] *= 0.5
            return x

        with self.model.hooks(fwd_hooks=[(lambda name: name.endswith("mlp.hook_post"), scale)]):
            self.model.generate(ids(1, PROMPT), max_new_tokens=NEW, do_sample=False, stop_at_eos=False, verbose=False)
        return NEW


class NNsight:
    def __init__(self, folder):
        from nnsight import LanguageModel

        self.model = LanguageModel(str(folder), device_map="cpu", dispatch=True)

    def statistics(self):
        sums = Sums()
        with self.model.trace({"input_ids": ids(*BATCH)}) as tracer:
            for n, layer in enumerate(self.model.model.layers):
                sums.add(n, layer.mlp.gate_proj.output)
            tracer.stop()
        if len(sums.sums) != len(self.model.model.layers):
            raise RuntimeError("a layer was not traced")
        return BATCH[0] * BATCH[1]


PEERS = {"hf": ("HF + torch hooks", HF), "tl": ("TransformerLens", TL), "nnsight": ("nnsight", NNsight)}


def work(tool, job, folder):
    """The process of a peer: does its job once for each line on stdin."""
    import resource

    import torch

    torch.set_grad_enabled(False)
    run = getattr(PEERS[tool][1](folder), job)
    for _ in sys.stdin:
        start = time.perf_counter()
        tokens = run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print("DONE " + json.dumps({"seconds": seconds, "tokens": tokens, "peak_mb": peak}), flush=True)


# ---- the comparison


class Worker:
    def __init__(self, name, command):
        self.name = name
        environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def once(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            line = line.removeprefix("DONE ").strip()
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.name} ended")

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(job, unit, ours, peers, folder, rounds, ours_bin):
    """Rows of the table: job, tool, median, ratio of ours to it, peak memory."""
    me = [sys.executable, __file__, "--work"]
    workers = [(f"optrode {v}", [str(ours_bin), job, str(folder)] + (["--bf16"] if v == "bf16" else [])) for v in ours]
    workers += [(PEERS[p][0], me + [p, job, str(folder)]) for p in peers]
    running = []
    for name, command in workers:
        worker = Worker(name, command)
        try:
            worker.once()  # loads and warms up
            running.append((worker, []))
        except (RuntimeError, BrokenPipeError) as why:
            say(f"{job}: left out {name}: {why}")
    for at in range(rounds):
        for worker, seen in running:
            seen.append(worker.once())
        say(f"{job}: round {at + 1} of {rounds}", *(f"{s[-1]['seconds']:.3f}" for _, s in running))
    for worker, _ in running:
        worker.end()
    rows = []
    for worker, seen in running:
        middle = statistics.median(s["seconds"] for s in seen)
        figure = f"{middle * 1e3:.0f}" if unit == "ms" else f"{seen[0]['tokens'] / middle:.0f}"
        ratios = []
        for own, own_seen in running:
            if own.name.startswith("optrode") and not worker.name.startswith("optrode"):
                ratio = statistics.median(p["seconds"] / o["seconds"] for p, o in zip(seen, own_seen))
                ratios.append(f"{ratio:.2f}" + (f" ({own.name.split()[1]})" if len(ours) > 1 else ""))
        rows.append([f"{job}, {unit}", worker.name, figure, ", ".join(ratios), f"{seen[-1]['peak_mb'] / 1000:.2f}"])
    return rows


def starts(folder, rounds, optrode):
    """From nothing to the first token: the whole process."""
    one = f"""
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({str(folder)!r})
model = AutoModelForCausalLM.from_pretrained({str(folder)!r}, dtype="float32")
prompt = tokenizer("The capital of", return_tensors="pt")
model.generate(**prompt, do_sample=False, max_new_tokens=1, pad_token_id=0)
"""
    ours = [str(optrode), "generate", str(folder), "--prompt", "The capital of", "--greedy", "--max-new-tokens", "1"]
    commands = [("optrode f32", ours), ("HF + torch hooks", [sys.executable, "-c", one])]
    seen = {name: [] for name, _ in commands}
    for _ in range(rounds):
        for name, command in commands:
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seen[name].append(time.perf_counter() - start)
    rows = []
    for name, _ in commands:
        ratio = statistics.median(p / o for p, o in zip(seen[name], seen["optrode f32"]))
        shown = "" if name.startswith("optrode") else f"{ratio:.1f}"
        rows.append(["start to first token, s", name, f"{statistics.median(seen[name]):.2f}", shown, ""])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--bin", type=Path, help="where bench_jobs and optrode lie (default: the release folder)")
    parser.add_argument("--work", nargs=3, metavar=("TOOL", "JOB", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work)
    if args.folder is None:
        parser.error("name a folder for the checkpoint")
    if not (args.folder / "config.json").exists():
        make(args.folder, args.tiny)
    release = args.bin or Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    rows = []
    for job, unit, ours, peers in JOBS:
        if not args.only or job in args.only:
            # A sweep is hundreds of forwards: a few are enough.
            rounds = min(args.rounds, 3) if job == "sweep" else args.rounds
            rows += compare(job, unit, ours, peers, args.folder, rounds, release / "examples" / "bench_jobs")
    if not args.only or "start" in args.only:
        rows += starts(args.folder, args.rounds, release / "optrode")
    print("| job | tool | median | optrode is faster by | peak memory, GB |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
