"""Error rates of transcripts, compared with jiwer."""

import jiwer
import numpy as np
import pytest

from components.core.errors import SpecError
from components.metrics.ready_made.transcripts import CharacterErrorRate, WordErrorRate, edit_distances

LETTERS = list("abcdé")
SPACE = 5


def sentence(random):
    """Up to 8 words; sometimes none."""
    return " ".join("".join(random.choice(LETTERS, random.integers(1, 5))) for _ in range(random.integers(0, 9)))


def pairs(seed, count):
    """References, and hypotheses that differ from them by some characters."""
    random = np.random.default_rng(seed)
    references = [sentence(random) for _ in range(count)]
    hypotheses = []
    for reference in references:
        characters = [c for c in reference if random.random() > 0.1]
        changed = [str(random.choice([*LETTERS, " "])) if random.random() < 0.15 else c for c in characters]
        hypotheses.append("".join(changed) if random.random() > 0.1 else sentence(random))
    return references, hypotheses


def indexes(texts, padding=-1):
    """The texts as padded class indexes, a space as 5."""
    width = max(map(len, texts)) + 1
    rows = [[SPACE if c == " " else LETTERS.index(c) for c in text] for text in texts]
    return np.array([row + [padding] * (width - len(row)) for row in rows])


def value(metric, references, hypotheses):
    return metric.result(metric.add(metric.create(), {"text": hypotheses}, {"text": references}))


@pytest.mark.parametrize("seed", range(5))
def test_error_rates_equal_jiwer_on_random_sentences(seed):
    references, hypotheses = pairs(seed, 80)
    assert "" in references
    words, characters = jiwer.wer(references, hypotheses), jiwer.cer(references, hypotheses)
    assert 0.1 < characters < words < 1.5
    texts = [np.array(each, dtype=object) for each in (references, hypotheses)]
    encoded = [np.array([text.encode() for text in each], dtype=object) for each in (references, hypotheses)]
    for compared in (texts, encoded):
        assert value(WordErrorRate(), *compared) == pytest.approx(words, abs=1e-6)
        assert value(CharacterErrorRate(), *compared) == pytest.approx(characters, abs=1e-6)
    assert value(WordErrorRate(separator=SPACE), indexes(references), indexes(hypotheses)) == pytest.approx(words)
    assert value(WordErrorRate(9, SPACE), indexes(references, 9), indexes(hypotheses, 9)) == pytest.approx(words)
    stripped = [text.strip() for text in hypotheses]
    assert value(CharacterErrorRate(), indexes(references), indexes(stripped).astype(np.float32)) == pytest.approx(
        characters, abs=1e-6
    )


def test_error_rate_of_each_example_equals_jiwer():
    references, hypotheses = pairs(9, 200)
    for metric, oracle in ((WordErrorRate(), jiwer.process_words), (CharacterErrorRate(), jiwer.process_characters)):
        named = [{"text": np.array(each, dtype=object)} for each in (hypotheses, references)]
        errors = metric.sums(*named, {})[:, 0]
        counts = [oracle(r, h) for r, h in zip(references, hypotheses, strict=True)]
        np.testing.assert_array_equal(errors, [c.substitutions + c.insertions + c.deletions for c in counts])


def test_empty_references_count_with_their_errors():
    references, hypotheses = np.array(["", "a b"], dtype=object), np.array(["x y", "a b"], dtype=object)
    assert jiwer.wer(references.tolist(), hypotheses.tolist()) == 1
    assert value(WordErrorRate(), references, hypotheses) == 1
    assert np.isnan(value(WordErrorRate(), references[:1], hypotheses[:1]))
    assert value(WordErrorRate(), hypotheses, np.array(["", ""], dtype=object)) == 1
    assert np.isnan(WordErrorRate().result(WordErrorRate().create()))


def test_each_class_index_is_a_word_without_a_separator():
    reference, found = np.array([[3, 4, 5, -1]]), np.array([[3, 5]])
    assert value(WordErrorRate(), reference, found) == pytest.approx(1 / 3)
    # Padding is left out wherever it is, as after a greedy decoder that keeps its places.
    assert value(WordErrorRate(), reference, np.array([[-1, 3, -1, 4, 5]])) == 0


def test_distances_of_pairs_are_those_of_each_pair_alone():
    random = np.random.default_rng(2)
    references, hypotheses = ([random.integers(4, size=random.integers(12)) for _ in range(300)] for _ in range(2))
    alone = [edit_distances([r], [h])[0] for r, h in zip(references, hypotheses, strict=True)]
    np.testing.assert_array_equal(edit_distances(references, hypotheses), alone)
    assert edit_distances([], []).shape == (0,)


def test_scores_of_characters_are_refused():
    with pytest.raises(SpecError, match=r"texts \[N\], or class indexes \[N, T\]; found: float64 \[2, 3, 4\]"):
        value(CharacterErrorRate(), np.zeros((2, 3)), np.full((2, 3, 4), 0.5))
