"""A liquid of 1,000 spiking neurons with STDP, here and in Brian2, in turns on one machine.

    python3 -m venv peers && peers/bin/pip install brian2==2.9.0 "numpy<2"
    cargo build --release --example bench_liquid
    peers/bin/python benches/peers/liquid.py > liquid.md

One network, its wiring and its input drawn once: neurons are exact leaky integrate-and-fire with exponential currents,
every pair is connected with a chance of a tenth, 800 neurons excite through plastic synapses (pair STDP) and 200
inhibit. dt is 1 ms. Brian2 runs its numpy target, without the time that it takes to set up: a first run of ten steps
is not counted. It takes a pre spike for STDP when it is fired, ours when it arrives, a step later; all else is equal, so
that the runs must agree in their spikes until the weights differ, and in rates and the mean weight to the end. The
script says how far they agree, and refuses to compare networks that do not. Progress goes to stderr.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
NEURONS, EXCITING, CHANCE = 1000, 800, 0.1
CONSTANTS = dict(tau_m=20.0, tau_s=5.0, tau_stdp=20.0, a_plus=2e-4, a_minus=2.1e-4, w_max=0.04)


def say(*what):
    print(*what, file=sys.stderr, flush=True)


def draw(steps, seed=0):
    """The network's wiring and its input: noise around a current that is too small to fire by itself."""
    rng = np.random.default_rng(seed)
    arrays = {name: np.array(value) for name, value in CONSTANTS.items()}
    connected = rng.random((NEURONS, NEURONS)) < CHANCE  # [pre, post]
    for name, first, last, weight in [("excitation", 0, EXCITING, 0.02), ("inhibition", EXCITING, NEURONS, -0.08)]:
        pre, post = np.nonzero(connected[first:last])
        arrays[f"{name}_pre"], arrays[f"{name}_post"] = (pre + first).astype(np.uint32), post.astype(np.uint32)
        arrays[f"{name}_w"] = (weight * rng.uniform(0.5, 1.5, len(pre))).astype(np.float32)
    arrays["drive"] = rng.normal(0.8, 1.0, (steps, NEURONS)).astype(np.float32)
    return arrays


def ours(file):
    return subprocess.Popen(
        [ROOT / "target/release/examples/bench_liquid", file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def brian(arrays):
    """A run of Brian2 with the seconds that it took, and what ours says of its own."""
    import brian2 as b

    b.prefs.codegen.target = "numpy"
    b.start_scope()
    b.defaultclock.dt = 1 * b.ms
    steps = len(arrays["drive"])
    value = {name: float(arrays[name]) for name in CONSTANTS}
    space = {name: v * b.ms if name.startswith("tau") else v for name, v in value.items()}
    space["drive"] = b.TimedArray(arrays["drive"], dt=1 * b.ms)
    neurons = b.NeuronGroup(
        NEURONS,
        "dv/dt = (x + given - v) / tau_m : 1\ndx/dt = -x / tau_s : 1\ngiven : 1 (constant)",
        threshold="v > 1",
        reset="v = 0",
        method="exact",
        namespace=space,
    )
    neurons.run_regularly("given = drive(t, i)", when="start")
    rule = b.Synapses(
        neurons,
        neurons,
        "w : 1\ndapre/dt = -apre / tau_stdp : 1 (event-driven)\ndapost/dt = -apost / tau_stdp : 1 (event-driven)",
        on_pre="x_post += w\napre += 1\nw = clip(w - a_minus * apost, 0, w_max)",
        on_post="apost += 1\nw = clip(w + a_plus * apre, 0, w_max)",
        namespace=space,
    )
    fixed = b.Synapses(neurons, neurons, "w : 1", on_pre="x_post += w")
    for synapses, name in [(rule, "excitation"), (fixed, "inhibition")]:
        synapses.connect(i=arrays[f"{name}_pre"].astype(int), j=arrays[f"{name}_post"].astype(int))
        synapses.w = arrays[f"{name}_w"].astype(float)
    monitor = b.SpikeMonitor(neurons)
    net = b.Network(neurons, rule, fixed, monitor)
    net.store()
    net.run(10 * b.ms)
    net.restore()
    start = time.perf_counter()
    net.run(steps * b.ms)
    seconds = time.perf_counter() - start
    counts = np.bincount(np.round(monitor.t / b.ms).astype(int), minlength=steps)
    return dict(seconds=seconds, spikes=counts.tolist(), weight=float(np.mean(rule.w)))


def agreement(a, b, seconds):
    """The first step whose spikes differ, and both runs' rate (Hz) and mean weight."""
    different = [t for t, (x, y) in enumerate(zip(a["spikes"], b["spikes"])) if x != y]
    rates = [sum(run["spikes"]) / NEURONS / seconds for run in (a, b)]
    weights = [a["weight"], b["weight"]]
    for what, (x, y) in [("rates", rates), ("mean weights", weights)]:
        if not abs(x - y) < 0.05 * abs(y):
            sys.exit(f"the {what} {x} and {y} are further apart than a twentieth: these are two networks")
    return different[0] if different else len(a["spikes"]), rates, weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    arrays = draw(args.steps)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "liquid.npz"
        np.savez(file, **arrays)
        process = ours(file)
        ask(process)
        rounds = []
        for i in range(args.rounds):
            mine, theirs = ask(process), brian(arrays)
            first, rates, weights = agreement(mine, theirs, args.steps / 1000)
            rounds.append((mine["seconds"], theirs["seconds"]))
            say(f"round {i}: {mine['seconds']:.3f} s, Brian2 {theirs['seconds']:.3f} s; equal for {first} steps")
        process.stdin.close()
    ratios = [theirs / mine for mine, theirs in rounds]
    print(f"| {args.steps} steps of 1,000 LIF neurons, 10 % connected, STDP | optrode | Brian2 (numpy) |")
    print("|---|---|---|")
    print(f"| seconds | {statistics.median(m for m, _ in rounds):.3f} | {statistics.median(t for _, t in rounds):.3f} |")
    print(f"| rate, Hz | {rates[0]:.2f} | {rates[1]:.2f} |")
    print(f"| mean weight at the end | {weights[0]:.5f} | {weights[1]:.5f} |")
    print(f"\n{statistics.median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f} over "
          f"{args.rounds} rounds); equal spike counts for the first {first} steps.")


if __name__ == "__main__":
    main()
