"""The reference's training step of an ELM neuron in PyTorch, for `cargo bench --bench elm` to stand beside.

    peers/bin/python benches/peers/elm.py > table.md

NeuronIO's sizes: 1278 inputs, 45 branches of 100 synapses, windows of 500 ms of which 150 are left out of the loss, batch 8;
forward, loss (half cross-entropy of spikes, half squared error of the soma), backward, Adam. The module computes what the
published one does (first form), written anew: eagerly, and as TorchScript, which the authors use. `--rounds N` updates after
three to warm up; `--threads N`.
"""

import argparse
import statistics
import time
from typing import List

import torch
from torch import nn

INPUTS, BRANCHES, SYNAPSES, STEPS, BURN_IN, BATCH = 1278, 45, 100, 500, 150, 8


def routing():
    order = torch.stack([torch.arange(INPUTS // 2), torch.arange(INPUTS // 2) + INPUTS // 2], 1).flatten()
    stride = -(-INPUTS // BRANCHES)
    place = (torch.arange(BRANCHES) * stride)[:, None] + torch.arange(SYNAPSES)[None]
    return order[place.clamp(max=INPUTS - 1)].flatten(), (place < INPUTS).flatten().float()


class Elm(nn.Module):
    def __init__(self, memory: int):
        super().__init__()
        index, mask = routing()
        self.register_buffer("index", index)
        self.register_buffer("mask", mask)
        self.register_buffer("kappa_s", torch.exp(-1.0 / torch.full((BRANCHES * SYNAPSES,), 5.0)))
        tau = torch.logspace(0, torch.log10(torch.tensor(150.0)).item(), memory)
        self.register_buffer("kappa_m", torch.exp(-1.0 / tau))
        self.w_s = nn.Parameter(torch.full((BRANCHES * SYNAPSES,), 0.5))
        self.up = nn.Linear(BRANCHES + memory, 2 * memory)
        self.down = nn.Linear(2 * memory, memory)
        self.out = nn.Linear(memory, 2)
        self.memory, self.branches, self.synapses = memory, BRANCHES, SYNAPSES

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = torch.relu(self.w_s) * self.mask
        rows = x.shape[0]
        s = torch.zeros(rows, w.shape[0])
        m = torch.zeros(rows, self.memory)
        outs: List[torch.Tensor] = []
        for t in range(x.shape[1]):
            s = self.kappa_s * s + w * x[:, t].index_select(1, self.index)
            b = s.view(rows, self.branches, self.synapses).sum(2)
            k = self.kappa_m * m
            y = self.down(torch.relu(self.up(torch.cat([b, k], 1))))
            m = k + 5.0 * (1.0 - self.kappa_m) * (1.7159 * torch.tanh(2.0 / 3.0 * y))
            outs.append(self.out(m))
        return torch.stack(outs, 1)


def update(net, optimiser, x, spikes, soma):
    optimiser.zero_grad()
    y = net(x)[:, BURN_IN:]
    loss = 0.5 * nn.functional.binary_cross_entropy_with_logits(y[..., 0], spikes[:, BURN_IN:])
    loss = loss + 0.5 * nn.functional.mse_loss(y[..., 1], soma[:, BURN_IN:])
    loss.backward()
    optimiser.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    sign = torch.cat([torch.ones(INPUTS // 2), -torch.ones(INPUTS // 2)])
    x = (torch.rand(BATCH, STEPS, INPUTS) < 0.002).float() * sign
    spikes = (torch.rand(BATCH, STEPS) < 0.005).float()
    soma = torch.randn(BATCH, STEPS)
    print(f"torch {torch.__version__}, {args.threads} threads\n")
    print("| memory units | form | ms per update |\n| --- | --- | --- |")
    for memory in (20, 100):
        for form in ("eager", "TorchScript"):
            net = Elm(memory)
            run = torch.jit.script(net) if form == "TorchScript" else net
            optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
            took = []
            for round_ in range(args.rounds + 3):
                start = time.perf_counter()
                update(run, optimiser, x, spikes, soma)
                if round_ >= 3:
                    took.append(1e3 * (time.perf_counter() - start))
            print(f"| {memory} | {form} | {statistics.median(took):.0f} |", flush=True)


if __name__ == "__main__":
    main()
