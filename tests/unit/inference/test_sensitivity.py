"""What is kept of an input: nothing, a keyed digest, the middle of its bin, or all of it."""

import hmac
import struct
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gyrostat_common import oip
from gyrostat_common.profile import build_profile
from gyrostat_common.settings import SettingsError
from gyrostat_inference.domain.plan import Sensitivity, TensorSpec
from gyrostat_inference.domain.sensitivity import Bins, Keeping, levels
from gyrostat_inference.settings import Settings, environ_of
from gyrostat_inference.store.cache import ProfileFiles, hash_key

AGE, NAME = TensorSpec("age", "FP32", (-1, 1)), TensorSpec("name", "BYTES", (-1, 1))
EDGES = np.array([10.0, 20.0])
BINS = Bins(lambda x: np.searchsorted(EDGES, x), levels(EDGES, 0.0, 40.0))
CANARY = b"canary-4711"


def keeping(kept: Sensitivity, key: bytes = b"k", bins: bool = True) -> Keeping:
    return Keeping({"age": kept, "name": kept}, {"age": BINS} if bins else {}, key)


def hashed(key: bytes, *texts: bytes) -> list[bytes]:
    raw = oip.pack_bytes(texts)
    return oip.unpack_bytes(keeping(Sensitivity.HASH, key).values(NAME, (1,), np.array([]), raw, len(texts)))


def test_a_hashed_input_keeps_equality_and_nothing_else():
    one, two, three = hashed(b"k", CANARY, b"other", CANARY)
    assert one == three != two
    assert len(one) == 16
    assert CANARY not in one


def test_another_key_gives_other_digests():
    assert hashed(b"k", CANARY) != hashed(b"q", CANARY)


def test_a_hashed_number_becomes_text():
    column = keeping(Sensitivity.HASH).column(AGE, (1,))
    assert column is not None
    assert (column.datatype, column.shape) == ("BYTES", ())


def test_a_bucketed_number_becomes_the_middle_of_its_bin():
    values = np.array([[1.0], [15.0], [39.0]], np.float32)
    kept = keeping(Sensitivity.BUCKET).values(AGE, (1,), values, values.tobytes(), 3)
    assert np.frombuffer(kept, "<f4").tolist() == [5.0, 15.0, 30.0]


def test_below_above_and_missing_have_values_of_their_own():
    low, high, missing = levels(EDGES, 0.0, 40.0)[-3:]
    assert (low, high) == (0.0, 40.0)
    assert np.isnan(missing)


def test_a_bucket_without_bins_or_of_text_is_dropped():
    assert keeping(Sensitivity.BUCKET, bins=False).column(AGE, (1,)) is None
    assert keeping(Sensitivity.BUCKET).column(NAME, (1,)) is None
    assert keeping(Sensitivity.DROP).column(AGE, (1,)) is None


def test_an_entity_is_kept_as_its_input_is():
    assert keeping(Sensitivity.DROP).entity("name", CANARY) == b""
    assert keeping(Sensitivity.PLAIN).entity("name", CANARY) == CANARY
    digest = keeping(Sensitivity.HASH).entity("name", CANARY)
    assert digest == hashed(b"k", CANARY)[0]


def test_bins_come_from_the_reference_profile(tmp_path: Path):
    rng = np.random.default_rng(7)
    ages = rng.normal(40, 10, 2000).astype(np.float32)
    times = np.arange(2000, dtype=np.int64) * 3_600_000_000
    labels = (rng.random(2000) < 0.3).astype(float)
    profile = build_profile(pa.table({"age": ages}), rng.random(2000), labels, times, {"age": 1.0}, "binary")
    path = tmp_path / "profile.json"
    path.write_text(profile.to_json())
    kept = Keeping({"age": Sensitivity.BUCKET}, ProfileFiles().bins(path), b"k")
    values = np.array([[40.0], [40.01], [-1e9], [np.nan]], np.float32)
    raw = kept.values(AGE, (1,), values, values.tobytes(), 4)
    first, second, low, missing = np.frombuffer(raw, "<f4")
    feature = profile.feature("age")
    assert feature is not None
    assert feature.bins(np.array([first, second])).tolist() == feature.bins(values.ravel()[:2]).tolist()
    assert low == np.float32(ages.min())
    assert np.isnan(missing)
    assert first not in values


def test_replicas_with_the_sites_key_make_equal_digests(tmp_path: Path):
    def digest(folder: str, shared: str) -> bytes:
        return Keeping({}, {}, hash_key(tmp_path / folder / "hash.key", shared)).hashed(b"UA")

    assert digest("one", "a key of the site") == digest("two", "a key of the site")
    assert digest("one", "a key of the site") != digest("one", "a key of another")
    assert digest("one", "") != digest("two", "")
    assert digest("one", "") == digest("one", "")


def test_a_backend_makes_the_digest_of_an_entity_as_the_page_says(tmp_path: Path):
    site, entity = "a key of the site", b"card-1"
    kept = Keeping({"card": Sensitivity.HASH}, {}, hash_key(tmp_path / "hash.key", site)).entity("card", entity)
    theirs = hmac.digest(sha256(site.encode()).digest(), struct.pack("<I", len(entity)) + entity, "sha256").hex()[:16]
    assert kept.decode() == theirs


def test_a_key_that_is_too_short_is_refused_and_not_shown():
    with pytest.raises(SettingsError, match=r"GYROSTAT_INFERENCE__HASH_KEY: .*too short") as refused:
        Settings.load({"GYROSTAT_INFERENCE__HASH_KEY": "short-one"})
    assert "short-one" not in str(refused.value)
    settings = Settings.load({"GYROSTAT_INFERENCE__HASH_KEY": "long enough for a key"})
    assert Settings.load(environ_of(settings)).hash_key == settings.hash_key
