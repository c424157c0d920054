"""How a prompt is put: its structure, and the words that it opens with. Numbers that add over prompts.

What is said is the vectors' business. Letter case, the mark that a prompt ends with, white space and the
share of letters outside ASCII are left out on purpose: the first three tell how a file was made rather than
who asks, the last tells the language. Signs and words that mean the same in several scripts count alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: Columns of `structure`.
STRUCTURE = (
    "length",
    "question",
    "lines",
    "digits",
    "colon",
    "first_person",
    "quotes",
    "code",
    "please",
    "sentences",
    "list",
)

#: Columns of `openings`.
OPENINGS = 1024

#: `structure` looks at so many characters of a prompt.
_READ_CHARACTERS = 2_000
#: Texts held as one Arrow array; at 2,000 characters each it stays below 200 MB.
_CHUNK = 16_384

#: `openings` looks at so many words, and never past so many characters.
_OPENING_WORDS = 12
_OPENING_CHARACTERS = 300

#: ln(1 + occurrences).
_COUNTED = {
    "lines": r"\n",
    "sentences": r"[.!?。！？؟।]",
}

#: Occurrences over characters.
_SHARED = {
    "digits": r"\p{Nd}",
}


#: Words that only a person speaking of itself uses. "I" alone is "in", "and" or "the" in a dozen languages
#: and a counter in code, so it needs an English verb beside it; French "je" and Portuguese "eu" likewise.
_SPEAKER = (
    r"i['’](?:m|ve|d|ll)",
    r"i (?:am|was|have|had|do|did|don|want|wanted|need|would|will|can|could|should|must|may|might|like)",
    r"i (?:love|think|know|feel|see|get|got|just|also|really|wish|hope|try|use|work|live|keep|made|wrote)",
    r"(?:am|can|could|should|do|did|if|when|what|how) i",
    r"im (?:a|an|not|trying|looking|going|working|using|just)",
    r"my|me|myself|we|our|ours",
    r"ich|mich|mir|mein(?:e[mnrs]?)?|wir|uns|unser(?:e[mnrs]?)?",
    r"je (?:suis|veux|voudrais|dois|peux|ne|cherche|souhaite|vais|pense|sais|travaille)",
    r"j['’](?:ai|aimerais|essaie)|moi|mon|nous|notre",
    r"yo|mi|mis|nosotr[oa]s|nuestr[oa]s?|quiero|necesito|tengo",
    r"eu (?:quero|preciso|sou|estou|tenho|gostaria|posso)|meus?|minhas?|noss[oa]s?|preciso",
    r"mio|mia|miei|mie|vorrei|nostr[oaie]",
    r"ik|mijn|onze|mnie|mój|moja|jestem|chcę|jsem|chci|mám|můj|moje|benim|bizim|tôi|saya",
    r"я|мне|меня|мной|мой|моя|мо[её]|мои|моего|моей|мы|нас|нам|наш(?:а|е|и)?|мені|мене|мій",
    r"أنا|نحن|لدي|عندي|أريد",
    r"मैं|मेर[ाीे]|मुझे|हम|हमें|हमार[ाीे]",
    r"나는|내가|저는|제가|나의|우리|저희",
)
#: Chinese and Japanese have no space to end a word at; 私 alone is also "private".
_SPEAKER_CJK = r"我|咱们|私(?:は|が|の|を|に|も|たち|達|と)|僕|俺|わたし"
_INSIDE = r"\p{L}\p{M}\p{N}_"
#: The speaker as a whole word of any script; a dot that a letter follows does not end one (i.e.).
_FIRST_PERSON = (
    rf"(?:^|[^{_INSIDE}])(?:{'|'.join(_SPEAKER)})(?:$|[^.{_INSIDE}]|\.(?:$|[^{_INSIDE}]))|{_SPEAKER_CJK}"
)

_PLEASE = (
    r"\b(?:please|pls|plz|bitte|por favor|per favore|tolong)\b|s['’](?:il vous|il te)|"
    r"пожалуйста|お願い|ください|下さい|من فضلك|رجاء|कृपया|주세요|부탁|lütfen|proszę|vui lòng|"
    r"(?:^|[^申邀])[请請](?:$|[^求假])"
)

#: 1 where found, else 0.
_FOUND = {
    "question": r"[?？؟]",
    "colon": r"[:：]",
    "first_person": rf"(?i){_FIRST_PERSON}",
    "quotes": r"""["'“”„‘’«»「」『』]""",
    "code": r"```|\bdef |\(\);|</|(?s:\{.*\n.*\})",
    "please": rf"(?i){_PLEASE}",
    "list": r"(?m)^[ \t]*(?:\d{1,3}[.)、．）](?:$|\D)|[-*•][ \t])",
}


def structure(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return numbers that tell how each prompt is put; the first 2,000 characters are read.

    Parameters
    ----------
    texts : sequence of str (n,)

    Returns
    -------
    float32 (n, 11)
        Columns `STRUCTURE`. `length`, `lines` and `sentences` are ln(1 + count) of characters, of line ends
        and of the marks ``. ! ?`` in any script. `digits` is a share of the characters. The others are 1
        where a prompt has them, else 0: a question mark, a colon, words of a person speaking of itself,
        quotation marks or apostrophes, code, a word that asks politely, a line that is an item of a list.
        An empty text gives zeros, no texts shape ``(0, 11)``.

    Notes
    -----
    Not free of language: Chinese, Japanese and Korean need fewer characters for the same request (`length`).
    Words between white space and the share of punctuation were left out because they tell the writing system
    first. The word lists cover nineteen languages and are
    short: they miss endings (Turkish, Arabic) and dropped pronouns (Japanese, Spanish).
    """
    out = np.empty((len(texts), len(STRUCTURE)), dtype=np.float32)
    for start in range(0, len(texts), _CHUNK):
        chunk = [text[:_READ_CHARACTERS] for text in texts[start : start + _CHUNK]]
        read = pa.array(chunk, pa.large_string())
        characters = _numbers(pc.utf8_length(read))
        for column, name in enumerate(STRUCTURE):
            out[start : start + len(chunk), column] = _column(name, read, characters)
    return out


def openings(texts: Sequence[str]) -> csr_matrix:
    """Return the hashed words and word pairs that each prompt opens with.

    Formula: of the first 12 words between white space (at most 300 characters), every token of two or more
    letters and every pair of neighbouring tokens, in lower case, adds its sign to the column that the two
    take from MurmurHash3 [1]_; then the row is scaled to length 1.

    Parameters
    ----------
    texts : sequence of str (n,)

    Returns
    -------
    csr_matrix of float32 (n, 1024)
        Unit rows; zeros where an opening has no token. No texts give shape ``(0, 1024)``.

    Notes
    -----
    Writing without spaces makes a clause one token: two prompts then share it only where it is the same to
    the letter.

    References
    ----------
    .. [1] K. Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009; as
       scikit-learn's HashingVectorizer has it.
    """
    if not texts:
        from scipy.sparse import csr_matrix

        return csr_matrix((0, OPENINGS), dtype=np.float32)
    return _hasher().transform([_head(text) for text in texts])


def opening_phrases(text: str) -> list[str]:
    """Words and word pairs that `openings` hashes for a prompt, in lower case."""
    phrases: list[str] = _analyzer()(_head(text))
    return phrases


def phrase_columns(phrases: Sequence[str]) -> list[int]:
    """Column of `openings` that each phrase adds to; -1 for one that takes from it."""
    from sklearn.feature_extraction import FeatureHasher

    if not phrases:
        return []
    hashed = FeatureHasher(OPENINGS, input_type="string").transform([[phrase] for phrase in phrases])
    return [int(column) for column in np.where(hashed.data > 0, hashed.indices, -1)]


def _head(text: str) -> str:
    return " ".join(text[:_OPENING_CHARACTERS].split(maxsplit=_OPENING_WORDS)[:_OPENING_WORDS])


def _column(name: str, read: pa.Array, characters: NDArray[np.int64]) -> NDArray[np.float64]:
    if name in _FOUND:
        return _numbers(pc.match_substring_regex(read, _FOUND[name])).astype(np.float64)
    if name in _SHARED:
        return _numbers(pc.count_substring_regex(read, _SHARED[name])) / np.maximum(characters, 1)
    counts = characters if name == "length" else _numbers(pc.count_substring_regex(read, _COUNTED[name]))
    return np.log1p(counts, dtype=np.float64)


def _numbers(values: pa.Array) -> NDArray[np.int64]:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.int64)


@lru_cache(maxsize=1)
def _hasher() -> Any:
    # Imported here: it takes two seconds, which a command that traces nothing need not wait.
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=OPENINGS, ngram_range=(1, 2), dtype=np.float32)


@lru_cache(maxsize=1)
def _analyzer() -> Any:
    return _hasher().build_analyzer()
