"""A GPT in one file, to be read from top to bottom: tokens go in, scores of every next token come out.

It is a small Llama: RMSNorm, rotary positions, SwiGLU, no biases. Its modules have the names that Transformers gives
them, so that `folder.py` can save it as a folder which `AutoModelForCausalLM` loads and computes the same with.

Shapes are written in these words:
    batch   texts that are computed together     heads   attentions side by side in a layer
    tokens  tokens of a text                     size    numbers of a token in one head: width / heads
    width   numbers that stand for a token       seen    tokens to look at: those in the cache, then the new ones
    vocab   tokens that there are
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

PAD, START, END = range(3)  # the ids of three tokens that no text holds
EPSILON, THETA = 1e-6, 10_000.0

# --- Attention: the only step in which tokens look at each other -----------------------------------------------------


def visible(tokens: int, seen: int) -> Tensor:
    """Return (tokens, seen): True where a token may look, at itself and what comes before it, not what follows."""
    return torch.ones(tokens, seen, dtype=torch.bool).tril(seen - tokens)


def written_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Mix values by how well their keys match each query.

    `query` is (batch, heads, tokens, size), as is the result; `key` and `value` are (batch, heads, seen, size).
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5  # (batch, heads, tokens, seen)
    scores = scores.masked_fill(~visible(query.shape[-2], key.shape[-2]), float("-inf"))
    return scores.softmax(dim=-1) @ value


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the same, of the same shapes, in one pass that never stores all scores."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=visible(query.shape[-2], key.shape[-2]))


def angles(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine, (tokens, size) each, of how far the hands of a clock are at each position (tokens,)."""
    speeds = THETA ** (-torch.arange(0, size, 2) / size)  # (size / 2,): fast hands tell near, slow hands tell far
    turned = torch.outer(positions.float(), speeds).repeat(1, 2)
    return turned.cos(), turned.sin()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x` (batch, heads, tokens, size) by its positions: a query then meets a key by how far apart they are."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Cache:
    """Hold the keys and values of the tokens that were read, so that the next one is computed alone."""

    def __init__(self) -> None:
        self.tokens = 0
        self.pairs: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def add(self, layer: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values (batch, heads, tokens, size); return all, (batch, heads, seen, size)."""
        if layer in self.pairs:
            old_key, old_value = self.pairs[layer]
            key, value = torch.cat((old_key, key), dim=2), torch.cat((old_value, value), dim=2)
        self.pairs[layer] = key, value
        return key, value


# --- The model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Choose the sizes of a model, and two switches, which README.md explains."""

    vocab: int
    context: int = 64  # tokens of a block in training
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 344  # numbers of a token within the feed-forward layer
    attend: Callable[[Tensor, Tensor, Tensor], Tensor] = fused  # or written_out
    tied: bool = True  # one matrix turns tokens into vectors and vectors into scores; or two matrices

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"{self.heads} heads need a width that {2 * self.heads} divides, unlike {self.width}")


def norm(width: int) -> nn.Module:
    """Return what brings each vector to one length, x / sqrt(mean(x * x)), and then weighs its numbers."""
    return nn.RMSNorm(width, eps=EPSILON)


class Attention(nn.Module):
    """Let each token collect from those before it: its query meets their keys, and a mix of their values comes back."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.attend = shape.heads, shape.attend
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """Map (batch, tokens, width) to (batch, tokens, width)."""
        query = turn(self.split(self.q_proj(x)), cos, sin)
        key = turn(self.split(self.k_proj(x)), cos, sin)
        value = self.split(self.v_proj(x))
        if cache is not None:
            key, value = cache.add(self, key, value)
        mixed = self.attend(query, key, value)  # (batch, heads, tokens, size)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """Divide the numbers of a token among the heads: (batch, tokens, width) to (batch, heads, tokens, size)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Work on each token alone (SwiGLU): a gate decides how much of each number passes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to (batch, tokens, width)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Add to each token what attention collects for it, then what the feed-forward layer makes of that."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = norm(shape.width), Attention(shape)
        self.post_attention_layernorm, self.mlp = norm(shape.width), FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """Map (batch, tokens, width) to (batch, tokens, width)."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class GPT(nn.Module):
    """Score the next token: an embedding, blocks, and a score for every token of the vocabulary."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = norm(shape.width)
        self.lm_head = nn.Linear(shape.width, shape.vocab, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        if shape.tied:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Map ids (batch, tokens) to the scores of what follows each of them (batch, tokens, vocab)."""
        start, new = cache.tokens if cache is not None else 0, tokens.shape[1]
        cos, sin = angles(torch.arange(start, start + new), self.shape.width // self.shape.heads)
        x = self.embed_tokens(tokens)  # (batch, tokens, width)
        for block in self.layers:
            x = block(x, cos, sin, cache)
        if cache is not None:
            cache.tokens += new
        return self.lm_head(self.norm(x))


# --- Training and writing --------------------------------------------------------------------------------------------


def loss_of(model: GPT, blocks: Tensor) -> Tensor:
    """Return a scalar for ids (batch, tokens + 1): how much each next token surprises, on average, in nats."""
    scores, answers = model(blocks[:, :-1]), blocks[:, 1:]
    return F.cross_entropy(scores.flatten(0, 1), answers.flatten(), ignore_index=PAD)


@torch.inference_mode()
def generate(model: GPT, prompt: Tensor, most: int, temperature: float = 0.0, cached: bool = True) -> Tensor:
    """Return the ids of `prompt` (tokens,) and up to `most` more; the last is END where the text comes to its end."""
    tokens, unread, cache = prompt, prompt, Cache() if cached else None
    for _ in range(most):
        scores = model(unread[None], cache)[0, -1]  # (vocab,)
        if temperature:
            token = torch.multinomial((scores / temperature).softmax(dim=-1), 1)
        else:
            token = scores.argmax(keepdim=True)
        tokens = torch.cat((tokens, token))
        if token == END:
            break
        unread = token if cached else tokens
    return tokens
