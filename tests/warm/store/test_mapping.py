"""The store as a mapping: like a dictionary, with ends, partitions for each tenant, and every key told."""

from __future__ import annotations

import pytest

from tests.warm.store.conftest import MB, tier_of
from warmstate.errors import TenantMismatch


class TestMapping:
    def test_behaves_like_a_dict(self, store):
        """Set, get, replace, delete, iterate and count work as on a dict."""
        store["a"] = 1
        store["b"] = [2]
        store["a"] = "one"
        del store["b"]

        assert dict(store) == {"a": "one"}
        assert len(store) == 1
        assert "a" in store
        assert "b" not in store
        assert store.get("b", 7) == 7
        with pytest.raises(KeyError, match="b"):
            store["b"]
        with pytest.raises(KeyError):
            del store["b"]
        assert store.pop("a") == "one"
        assert store.pop("a", None) is None
        assert store.setdefault("c", []) == []
        store.update(x=1, y=2)
        store.clear()
        assert not store

    def test_same_object_while_in_memory(self, store):
        """What stays in memory is the object that was stored."""
        value = {"a": 1}
        store["k"] = value

        assert store["k"] is value

    @pytest.mark.parametrize("key", [1, None, b"k", ("a", "b"), object()])
    def test_keys_are_text(self, store, key):
        """A key that is no str is refused with a sentence that says what to write."""
        with pytest.raises(TypeError, match=r"write store\[str\(key\)\]"):
            store[key] = 1
        assert key not in store


class TestExpiry:
    @pytest.mark.parametrize("move", ["pass_time", "jump"])
    def test_either_clock_ends_a_value(self, store, clock, move):
        """A value with a ttl is gone when either clock says so, in memory and in /tmp."""
        store.set("k", b"v", ttl=60)
        store.set("away", bytes(1000), ttl=60)
        for number in range(30):
            store[f"filler{number}"] = bytes(60_000)
        assert tier_of(store, "away") == "tmp"
        getattr(clock, move)(59)
        assert store["k"] == b"v"
        getattr(clock, move)(2)

        assert "k" not in store
        assert store.get("away") is None
        assert "away" not in list(store)

    def test_monotonic_alone_ends_a_value(self, store, clock):
        """A wall clock that stands still does not keep a value."""
        store.set("k", b"v", ttl=60)
        clock.monos += 61

        assert store.get("k") is None

    def test_a_wall_clock_that_runs_backwards_ends_it(self, store, clock):
        """Two hours back make a ttl meaningless, so the value is gone rather than immortal."""
        store.set("k", b"v", ttl=60)
        clock.jump(-7200)

        assert store.get("k") is None

    def test_small_corrections_do_not(self, store, clock):
        """A second back is a correction of the clock."""
        store.set("k", b"v", ttl=60)
        clock.jump(-1)

        assert store["k"] == b"v"

    def test_writing_anew_removes_the_end(self, store, clock):
        """A plain write keeps the value without end."""
        store.set("k", b"v", ttl=60)
        store["k"] = b"w"
        clock.pass_time(100)

        assert store["k"] == b"w"

    def test_expired_values_are_freed_by_settling(self, store, clock):
        """What nobody asks for any more does not take memory."""
        for number in range(100):
            store.set(f"k{number}", bytes(2000), ttl=1)
        clock.pass_time(2)
        store.settle()

        assert store.nbytes < 10_000
        assert store.info()["expired"] == 100


class TestPartitions:
    def test_keys_do_not_meet(self, store):
        """The same name in two partitions and in the store are three keys."""
        a, b = store.partition("a"), store.partition("b")
        store["k"] = 0
        a["k"] = 1
        b.set("k", 2)

        assert (store["k"], a["k"], b["k"]) == (0, 1, 2)
        assert (list(store), list(a), list(b)) == (["k"], ["k"], ["k"])
        a.clear()
        assert (len(store), len(a), len(b)) == (1, 0, 1)
        assert store.partition("b")["k"] == 2
        with pytest.raises(KeyError, match=r"^'x'$"):
            a["x"]
        assert b.pop("k") == 2
        assert b.get_or_create("k", lambda: 5) == 5
        assert store.info()["partitions"] == {"b": {"k": store.info()["partitions"]["b"]["k"]}}

    def test_tenants_do_not_meet(self, store):
        """A tenant sees its own keys only, and finds them again."""
        store.bind_tenant("ann")
        store["k"] = "ann's"
        store.bind_tenant("bob")
        assert "k" not in store
        assert store.get("k") is None
        store["k"] = "bob's"
        store.bind_tenant("ann")

        assert store["k"] == "ann's"
        assert list(store) == ["k"]

    def test_a_kept_partition_of_another_tenant_is_refused(self, store):
        """A partition made for one tenant raises TenantMismatch in another's invocation, whatever is asked."""
        store.bind_tenant("ann")
        kept = store.partition("p")
        kept["k"] = "secret"
        store.bind_tenant("bob")

        for use in (
            lambda: kept["k"],
            lambda: kept.get("k"),
            lambda: "k" in kept,
            lambda: list(kept),
            lambda: len(kept),
            lambda: kept.pop("k"),
            lambda: kept.set("k", 1),
            lambda: kept.get_or_create("k", lambda: 1),
            kept.clear,
        ):
            with pytest.raises(TenantMismatch, match="another tenant"):
                use()
        assert store.partition("p").get("k") is None
        store.bind_tenant("ann")
        assert kept["k"] == "secret"

    def test_budgets_are_common(self, store):
        """What another tenant left counts, and leaves memory first."""
        store.bind_tenant("ann")
        for number in range(14):
            store[f"k{number}"] = bytes(60_000)
        store.bind_tenant("bob")
        for number in range(14):
            store[f"k{number}"] = bytes(60_000)

        assert store.nbytes <= 1 * MB
        assert {row["tier"] for row in store.info()["keys"].values()} == {"memory"}
        store.bind_tenant("ann")
        assert "tmp" in {row["tier"] for row in store.info()["keys"].values()}


class TestInfo:
    def test_every_key_is_told(self, store, clock):
        """Each key has tier, bytes, age, hits and whether it is only in memory, as plain values."""
        store["k"] = b"v" * 100
        store["k"]
        store["k"]
        store.set("t", 1, ttl=10)
        info = store.info()

        assert info["keys"]["k"]["hits"] == 2
        assert info["keys"]["k"]["dirty"] is True
        assert info["keys"]["t"]["expires_in"] == 10
        assert info["memory_bytes"] == store.nbytes
        assert info["keys"]["k"]["age"] == 0.0
        clock.pass_time(1)
        store.settle()
        clock.pass_time(60)
        store["t"] = b"new"
        ages = {key: row["age"] for key, row in store.info()["keys"].items()}
        assert ages == {"k": 60.0, "t": 0.0}
        assert info["tmp"]["budget"] == 64 * MB
        assert "v" * 100 not in repr(info)
        assert "2 keys" in repr(store)
