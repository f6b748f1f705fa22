"""Published weights: where they are looked for, and what is said when they are not there."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from calczoo.core.errors import OptionError, PotentialFileError, WeightsMissing
from calczoo.foreign import Weights, locate, sha256_of

DATA = b"some numbers"
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Weights whose url is a file here; an empty cache and an empty folder of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CALCZOO_WEIGHTS", str(tmp_path / "own"))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "small.pt").write_bytes(DATA)
    return Weights("small", "2", (tmp_path / "web" / "small.pt").as_uri(), SUM, len(DATA), "MIT", "them", "10.1/2")


def put(folder, data=DATA):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.pt").write_bytes(data)
    return folder / "small.pt"


def test_the_order_of_places(weights, tmp_path, monkeypatch):
    package = put(tmp_path / "site" / "netpack" / "deep" / "inside")
    (tmp_path / "site" / "netpack" / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert locate(weights, package="netpack") == package
    assert locate(weights, package="netpack/deep/inside") == package
    cached = put(tmp_path / "cache" / "calczoo" / "weights")
    assert locate(weights, package="netpack") == cached
    own = put(tmp_path / "own")
    assert locate(weights, package="netpack") == own
    given = put(tmp_path / "mine")
    assert locate(weights, given) == given and locate(weights, tmp_path / "mine") == given


def test_offline_it_says_what_to_fetch_and_where_to_put_it(weights, tmp_path):
    with pytest.raises(WeightsMissing) as caught:
        locate(weights, package="no_such_package")
    text = str(caught.value)
    for part in (weights.url, SUM, "small 2", "as small.pt", str(tmp_path / "own"), "CALCZOO_WEIGHTS"):
        assert part in text
    with pytest.raises(WeightsMissing, match=r"there is no file .*nowhere.pt; fetch file:"):
        locate(weights, tmp_path / "nowhere.pt")
    with pytest.raises(WeightsMissing, match="no checksum is known, 300.0 MB"):
        locate(Weights("large", url="https://example.org/a%20b.pt?x=1", size=300_000_000))
    assert Weights("large", url="https://example.org/a%20b.pt?x=1").file == "a b.pt"


def test_another_checksum_is_refused_wherever_the_file_is(weights, tmp_path):
    bad = put(tmp_path / "own", b"other numbers")
    for given in (None, bad):
        with pytest.raises(PotentialFileError, match=f"expected {SUM}"):
            locate(weights, given, download=True)
    bad.write_bytes(DATA)
    assert locate(weights) == bad and sha256_of(bad) == SUM


def test_fetching_is_asked_for(weights, tmp_path):
    path = locate(weights, download=True)
    assert path == tmp_path / "cache" / "calczoo" / "weights" / "small.pt" and path.read_bytes() == DATA
    assert locate(weights) == path
    assert [p.name for p in path.parent.iterdir()] == ["small.pt"]


def test_a_fetched_file_with_another_checksum_is_not_kept(weights, tmp_path):
    put(tmp_path / "web", b"half of")
    with pytest.raises(PotentialFileError, match="not kept"):
        locate(weights, download=True)
    assert list((tmp_path / "cache" / "calczoo" / "weights").iterdir()) == []
    (tmp_path / "web" / "small.pt").unlink()
    with pytest.raises(WeightsMissing, match="could not be fetched"):
        locate(weights, download=True)
    for url in ("http://example.org/small.pt", "ftp://example.org/small.pt"):
        with pytest.raises(WeightsMissing, match="https only"):
            locate(Weights("small", "", url, SUM), download=True)
    with pytest.raises(WeightsMissing, match="without a url and a checksum"):
        locate(Weights("small", file="small.pt"), download=True)


@pytest.mark.parametrize("wrong", [{"file": "../x"}, {"file": "", "url": ""}, {"file": "x", "sha256": "12ab"}])
def test_records_that_mean_nothing(wrong):
    with pytest.raises(OptionError):
        Weights("small", **wrong)


def test_facts_for_the_card(weights):
    facts = weights.facts()
    assert facts["sha256"] == SUM and facts["licence"] == "MIT" and facts["doi"] == "10.1/2"


def test_naming_weights_imports_nothing_heavy():
    code = (
        "import sys; from calczoo.foreign import Weights, locate; Weights('a', file='b'); "
        "print([m for m in ('torch', 'ase', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['ase', 'numpy']"), done.stdout
