"""Attention explained: against the formulas written out in NumPy, and wrong numbers are seen."""

from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.lens.explain.questions.attending import attentions
from chainrule.ops.operation import registry

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 8)).astype(np.float32)
TOKENS = ["the", "cat", "sat", "on", "mats"]


class Heads(nn.Module):
    """Self-attention as a user writes it down with the library's layer."""

    def __init__(self, **options):
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x):
        return self.mha(x, x, x, is_causal=True)[0]


class ByHand(nn.Module):
    """One head, written with plain operations; a mask that is added."""

    def __init__(self):
        self.project = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = (self.project(x)[..., i * 8 : (i + 1) * 8] for i in range(3))
        mask = np.triu(np.full((5, 5), -np.inf, np.float32), 1)
        scores = q @ cr.permute_dims(k, (0, 2, 1)) / 8**0.5 + cr.asarray(mask)
        return cr.softmax(scores) @ v


def expected(weight, bias, heads, row, head, position, causal=True):
    """(scores, weights, output) of one position, from the textbook's formulas in float64."""
    x = X[row].astype(np.float64)
    size = 8 // heads
    parts = [
        x @ weight[i * 8 : (i + 1) * 8].astype(np.float64).T + bias[i * 8 : (i + 1) * 8]
        for i in range(3)
    ]
    q, k, v = (part[:, head * size : (head + 1) * size] for part in parts)
    scores = q[position] @ k.T
    allowed = np.arange(5) <= position if causal else np.ones(5, bool)
    e = np.where(allowed, np.exp(scores / np.sqrt(size)), 0)
    weights = e / e.sum()
    return scores, weights, weights @ v


@pytest.mark.parametrize("fused", [False, True])
def test_the_numbers_are_those_of_the_textbook(fused):
    cr.seed(1)
    if fused:
        model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        attention, module = model.self_attn, "self_attn"
    else:
        model = Heads()
        attention, module = model.mha, "mha"
    weight, bias = attention.in_proj_weight.numpy(), attention.in_proj_bias.numpy()
    found = cr.explain(model, X).attention(module, head=1, position=2, row=1)
    scores, weights, output = expected(weight, bias, 2, 1, 1, 2, causal=not fused)
    assert found.verified
    assert found["r"].value == pytest.approx(scores, abs=1e-5)
    assert found["w"].value == pytest.approx(weights, abs=1e-6)
    assert found["o"].value == pytest.approx(output, abs=1e-6)
    assert found["W"].value[2] == pytest.approx(weights, abs=1e-6)
    assert ("s2" in [step.name for step in found.steps]) == (not fused)


def test_attention_written_by_hand_is_found():
    cr.seed(1)
    model = ByHand()
    weight, bias = model.project.weight.numpy(), model.project.bias.numpy()
    found = cr.explain(model, X).attention(row=2, position=-2)
    scores, weights, output = expected(weight, bias, 1, 2, 0, 3)
    assert found.verified
    assert found["r"].value == pytest.approx(scores, abs=1e-5)
    assert found["w"].value == pytest.approx(weights, abs=1e-6)
    assert found["o"].value == pytest.approx(output, abs=1e-6)


def test_the_operation_without_a_module_and_heads_without_a_batch():
    q = RNG.normal(size=(2, 4, 3))
    explained = cr.explain(lambda q: nn.scaled_dot_product_attention(q, q, q, scale=0.3), q)
    found = explained.attention(row=1, position=0)
    e = np.exp(0.3 * q[1, 0] @ q[1].T)
    assert found.verified
    assert found["w"].value == pytest.approx(e / e.sum(), rel=1e-12)
    flat = q.reshape(8, 3)
    heads = lambda x: nn.scaled_dot_product_attention(*[x.reshape(2, 4, 3)] * 3)  # noqa: E731
    found = cr.explain(heads, flat).attention(head=1)
    assert found["o"].value.shape == (3,)
    assert "head 1" in found.title


def test_masks_say_which_keys_and_why():
    cr.seed(1)
    causal = cr.explain(Heads(), X).attention(position=2, tokens=TOKENS)
    (note,) = causal["s2"].notes
    assert note == (
        "2 of 5 scores are −∞, because they come later (a causal mask): ‘on’ (3), ‘mats’ (4)"
    )
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    absent = np.array([[False] * 4 + [True]] * 3)
    padded = cr.explain(lambda x: layer(x, src_key_padding_mask=absent), X).attention()
    assert "no query may look at them (padding): position 4" in padded["s2"].notes[0]
    masked = lambda x: layer(x, src_key_padding_mask=absent, is_causal=True)  # noqa: E731
    both = cr.explain(masked, X).attention(position=3)
    assert "come later (a causal mask) or no query" in both["s2"].notes[0]
    some = np.tri(5, dtype=bool)[::-1].copy()
    other = cr.explain(lambda x: nn.scaled_dot_product_attention(x, x, x, attn_mask=some), X)
    assert "the mask says so" in other.attention(position=4)["s2"].notes[0]


def test_a_query_without_any_key_gives_zeros():
    q = RNG.normal(size=(4, 3))
    mask = np.tri(4, k=-1, dtype=bool)
    found = cr.explain(lambda q: nn.scaled_dot_product_attention(q, q, q, attn_mask=mask), q)
    nothing = found.attention(position=0)
    assert nothing.verified
    assert not nothing["o"].value.any()
    assert "looks at no key" in nothing["W"].notes[0]


def test_a_query_whose_weights_are_no_numbers_is_explained_up_to_there():
    cr.seed(1)
    hide = np.zeros((5, 5), bool)
    hide[1] = True
    attend = nn.MultiheadAttention(8, 2, batch_first=True)
    explained = cr.explain(lambda x: attend(x, x, x, attn_mask=hide)[0][:, 2:], X)
    broken = explained.attention(position=1)
    assert broken.verified
    assert [step.name for step in broken.steps] == ["q", "K", "V", "r", "s1", "s2"]
    assert "softmax divides 0 by 0" in broken.sections[0].parts[0].summary
    whole = explained.attention(position=2)
    assert whole.verified
    assert not any(note.startswith("position 1 looks") for note in whole["W"].notes)


def test_attention_to_another_sequence():
    cr.seed(1)
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    memory = cr.asarray(RNG.normal(size=(3, 7, 8)).astype(np.float32))
    explained = cr.explain(lambda x: layer(x, memory, tgt_is_causal=True), X)
    own = explained.attention("self_attn", tokens=TOKENS)
    other = explained.attention("multihead_attn", position=1, tokens=list("abcdefg"))
    assert own.verified
    assert other.verified
    assert own["W"].value.shape == (5, 5)
    assert other["W"].value.shape == (5, 7)
    assert other["W"].notes[1].startswith("position 1 looks at ‘")
    with pytest.raises(cr.ChainruleError, match="tokens name the 7 keys, and 5 were given"):
        explained.attention("multihead_attn", tokens=TOKENS)


def test_a_kernel_that_computes_something_else_is_seen(monkeypatch):
    operation = registry["scaled_dot_product_attention"]
    right = operation.kernel
    wrong = lambda *a, **k: right(*a, **k) * np.float32(1.001)  # noqa: E731
    monkeypatch.setattr(operation, "kernel", wrong)
    explained = cr.explain(lambda x: nn.scaled_dot_product_attention(x, x, x), X)
    assert [step.name for step in explained.attention().failed] == ["o"]
    (name,) = [step.name for step in explained.steps]
    assert [step.operation for step in explained.open(name).failed] == ["matmul"]


def test_dropout_of_weights_is_shown():
    cr.seed(3)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    found = cr.explain(layer, X, training=True).attention(position=1)
    assert found.verified
    kept = found["d1"].value / found["w"].value
    assert set(kept.round(5)) <= {0.0, 2.0}
    assert found["o"].operands[0] == "d1"


def test_notes_rank_the_tokens():
    cr.seed(1)
    found = cr.explain(Heads(), X).attention(position=4, row=1, tokens=TOKENS)
    weights = found["w"].value
    best = int(np.argmax(weights))
    assert (
        found["w"]
        .notes[0]
        .startswith(f"from the largest on: ‘{TOKENS[best]}’ ({best}): {weights[best]:.4g}")
    )


@pytest.mark.parametrize("name", ["q", "K", "V", "r", "s1", "s2", "w", "o", "W"])
def test_a_wrong_number_is_seen(name):
    cr.seed(1)
    step = cr.explain(Heads(), X).attention(position=2)[name]
    assert step.verified
    at = (0,) * step.value.ndim
    wrong = step.value.copy()
    wrong[at] += 0.01
    assert not replace(step, value=wrong).verified
    for i, note in enumerate(step.notes):
        other = note.replace("0.", "0.9", 1) if "0." in note else note + "!"
        notes = (*step.notes[:i], other, *step.notes[i + 1 :])
        assert not replace(step, notes=notes).verified


def test_what_is_not_there_is_said():
    cr.seed(1)
    explained = cr.explain(Heads(), X)
    with pytest.raises(cr.ChainruleError, match="head 2: there are 2, counted from 0 to 1"):
        explained.attention(head=2)
    with pytest.raises(cr.ChainruleError, match="position 5: there are 5, counted from 0 to 4"):
        explained.attention(position=5)
    with pytest.raises(cr.ChainruleError, match="row -4: there are 3"):
        explained.attention(row=-4)
    with pytest.raises(cr.ChainruleError, match="no attention ran in 'nope'; it ran in mha"):
        explained.attention("nope")
    with pytest.raises(cr.ChainruleError, match="tokens name the 5 keys, and 1 were given"):
        explained.attention(tokens=["a"])
    with pytest.raises(
        cr.ChainruleError, match=r"no attention ran in this model.*What ran: linear"
    ):
        cr.explain(nn.Linear(8, 2), X).attention()


def test_a_softmax_that_is_no_attention_is_left_alone():
    cr.seed(0)
    gate = lambda x: cr.softmax(x) * x  # noqa: E731
    assert not attentions(cr.explain(gate, X).recorded)
    pooled = lambda x: cr.softmax(cr.tanh(x)) @ cr.ones((8, 2))  # noqa: E731
    assert not attentions(cr.explain(pooled, X).recorded)


def test_names_of_tokens_may_hold_anything():
    cr.seed(1)
    tokens = ["{", "}", "{0}", "<script>", "{x}"]
    found = cr.explain(Heads(), X).attention(position=4, tokens=tokens)
    assert found.verified
    assert "‘{0}’ (2)" in " ".join(found["W"].notes)


# Operations that are made of others


def test_an_operation_is_opened_into_the_steps_of_its_definition():
    cr.seed(0)
    lstm = nn.LSTM(3, 4, batch_first=True)
    x = RNG.normal(size=(2, 3, 3)).astype(np.float32)
    explained = cr.explain(lstm_output(lstm), x)
    steps = [step.name for step in explained.steps if step.operation == "lstm_update"]
    assert len(steps) == 3
    second = explained.open(steps[1])
    assert second.verified
    assert [s.operation for s in second.steps].count("sigmoid") == 3
    assert second.steps[-1].value == pytest.approx(explained[steps[1]].value, abs=1e-6)
    last = second.steps[-1]
    assert not replace(last, value=last.value * 1.001).verified


def lstm_output(lstm):
    return lambda x: lstm(x)[0]


def test_what_is_inside_can_be_opened_in_turn():
    cr.seed(0)
    explained = cr.explain(lambda x: nn.scaled_dot_product_attention(x, x, x), X)
    (name,) = [s.name for s in explained.steps]
    inside = explained.open(name)
    (soft,) = [s.name for s in inside.steps if s.operation == "softmax"]
    assert [s.operation for s in explained.open(soft).steps] == ["log_softmax", "exp"]
    assert explained.open(soft).verified


def test_what_cannot_be_opened_says_so():
    explained = cr.explain(nn.Sequential(nn.Linear(8, 2), nn.Tanh()), X)
    with pytest.raises(cr.ChainruleError, match="a1 cannot be opened: tanh is not made of"):
        explained.open("a1")
    with pytest.raises(cr.ChainruleError, match=r"no step 'z9' to open; .*: z1 \(linear\)"):
        explained.open("z9")
    with pytest.raises(cr.ChainruleError, match=r"no step .z1\.7\.1. to open; .* z1\.1"):
        explained.open("z1.7.1")
