"""Requests to real sockets: endpoints that fail, credentials that change, certificates of all sorts, words for each."""

import asyncio
import base64
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certs import AGO, FAR, LONG_AGO, SOON, Authority
from vallum.lab.bench.fakeapi import CLOSE, HANG, Answer, FakeApi, Request, status
from vallum.sources.kube.access import Access
from vallum.sources.kube.client import ApiError, Client, UnreachableError
from virtual import run

STATES = "/apis/vallum.dev/v1alpha1/nodestates"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs") / "ca")


def asking(work: Callable[[Client, FakeApi], Awaitable[Any]], tls: ssl.SSLContext | None = None, **access: Any) -> Any:
    """What `work` gives with a client of a server of its own."""

    async def whole() -> Any:
        api = FakeApi()
        await api.start(tls=tls)
        async with Client(Access((api.url,), **access)) as client:
            try:
                return await work(client, api)
            finally:
                await api.stop()

    return run(whole())


def refusal(tls: ssl.SSLContext, **access: Any) -> str:
    """What is said of a server that gives no answer."""

    async def work(client: Client, api: FakeApi) -> str:
        with pytest.raises(UnreachableError) as found:
            await client.get("/version")
        return str(found.value).removeprefix(f"{api.url}: ")

    said = asking(work, tls, **access)
    assert isinstance(said, str)
    return said


def test_objects_are_created_read_replaced_patched_and_deleted():
    async def work(client: Client, api: FakeApi) -> None:
        made = await client.create(STATES, {"metadata": {"name": "n"}, "status": {"a": 1}})
        assert await client.get(f"{STATES}/n") == made
        await client.replace(f"{STATES}/n", made | {"status": {"a": 2}})
        with pytest.raises(ApiError) as found:
            await client.replace(f"{STATES}/n", made)
        assert (found.value.code, found.value.reason) == (409, "Conflict")
        patched = await client.patch(f"{STATES}/n/status", {"status": {"b": 3}}, params={"fieldManager": "us"})
        assert patched["status"] == {"a": 2, "b": 3}
        assert api.requests[-1].headers["content-type"] == "application/merge-patch+json"
        assert api.requests[-1].params == {"fieldManager": "us"}
        await client.delete(f"{STATES}/n")
        with pytest.raises(ApiError, match="not found"):
            await client.get(f"{STATES}/n")

    asking(work)


def test_a_refusal_has_the_servers_words_and_its_time_to_come_back():
    async def work(client: Client, api: FakeApi) -> None:
        for answer, after in (
            (status(429, "slowly", ("Retry-After: 7",)), 7.0),
            (status(429, "slowly", details={"retryAfterSeconds": 3}), 3.0),
            (Answer(502, b"<html>bad gateway</html>"), None),
        ):
            api.rule = lambda _, answer=answer: answer  # type: ignore[misc]
            with pytest.raises(ApiError) as found:
                await client.get("/x")
            assert found.value.retry_after == after
            assert found.value.message in ("slowly", "<html>bad gateway</html>")

    asking(work)


def test_endpoints_are_tried_in_turn_and_each_is_named_when_none_answers():
    async def work() -> None:
        apis = [FakeApi() for _ in range(3)]
        for api in apis:
            api.put(STATES, {"metadata": {"name": "n"}})
            await api.start()
        async with Client(Access(tuple(api.url for api in apis))) as client:
            await client.get(f"{STATES}/n")
            await apis[0].stop()
            apis[1].rule = lambda _: status(503, "not ready")
            await client.get(f"{STATES}/n")
            assert client.server == apis[2].url, "and stays there"
            apis[2].rule = lambda _: status(404, "no such thing")
            with pytest.raises(ApiError, match="no such thing"):
                await client.get(f"{STATES}/n")
            for api in apis:
                await api.stop()
            with pytest.raises(UnreachableError) as found:
                await client.get(f"{STATES}/n")
            assert all(f"{api.url}: connection refused" in str(found.value) for api in apis)

    run(work())


def test_what_may_have_arrived_is_not_created_twice():
    async def work() -> None:
        apis = [FakeApi(rule=lambda _: CLOSE), FakeApi()]
        for api in apis:
            await api.start()
        async with Client(Access(tuple(api.url for api in apis))) as client:
            with pytest.raises(UnreachableError):
                await client.create(STATES, {"metadata": {"name": "n"}})
            assert not apis[1].requests
        for api in apis:
            await api.stop()

    run(work())


def needs(token: list[str]) -> Callable[[Request], Answer | None]:
    """A server that accepts this token only."""
    return lambda request: (
        None if request.headers.get("authorization") == f"Bearer {token[0]}" else status(401, "Unauthorized")
    )


def test_a_token_that_is_renewed_is_used_at_once(tmp_path: Path):
    file, wanted = tmp_path / "token", ["one"]
    file.write_text("one\n")

    async def work(client: Client, api: FakeApi) -> None:
        api.rule = needs(wanted)
        api.put(STATES, {"metadata": {"name": "n"}})
        await client.get(f"{STATES}/n")
        wanted[0] = "another"
        file.write_text("another")
        await client.get(f"{STATES}/n")
        assert len(api.requests) == 2, "seen by the time of the file"
        times = file.stat()
        wanted[0] = "a third"
        file.write_text("a third")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        await client.get(f"{STATES}/n")

    asking(work, token_file=file)


def test_a_token_file_that_is_empty_for_a_moment_leaves_the_last_one_in_force(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("one")

    async def work(client: Client, api: FakeApi) -> None:
        api.rule = needs(["one"])
        api.put(STATES, {"metadata": {"name": "n"}})
        await client.get(f"{STATES}/n")
        file.write_text("")
        await client.get(f"{STATES}/n")
        file.unlink()
        await client.get(f"{STATES}/n")

    asking(work, token_file=file)


def test_without_a_token_it_is_said_where_it_should_be(tmp_path: Path):
    async def work(client: Client, _: FakeApi) -> None:
        with pytest.raises(UnreachableError, match=r"the token file .*/token cannot be read"):
            await client.get("/x")

    asking(work, token_file=tmp_path / "token")


def test_a_token_that_ended_is_told_from_one_that_is_not_accepted(tmp_path: Path):
    file = tmp_path / "token"
    claims = base64.urlsafe_b64encode(msgspec.json.encode({"exp": 1577836800})).rstrip(b"=").decode()

    async def work(client: Client, api: FakeApi) -> None:
        api.rule = lambda _: status(401, "Unauthorized")
        for text, said in ((f"a.{claims}.b", "ended at 2020-01-01T00:00:00Z"), ("x", "does not accept the token in")):
            file.write_text(text)
            with pytest.raises(ApiError) as found:
                await client.get("/x")
            assert said in str(found.value)
            assert str(file) in str(found.value)

    asking(work, token_file=file)


# TLS


def test_a_server_signed_by_the_authority_is_believed(authority: Authority):
    async def work(client: Client, api: FakeApi) -> Any:
        api.put(STATES, {"metadata": {"name": "n"}})
        return await client.get(f"{STATES}/n")

    for pem in (authority.certificate, authority.certificate.read_bytes()):
        assert asking(work, authority.server("good"), authority=pem)["metadata"]["name"] == "n"
    elsewhere = authority.server("named", alt="DNS:kubernetes.default")
    assert asking(work, elsewhere, authority=authority.certificate, server_name="kubernetes.default")
    assert asking(work, elsewhere, verify=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"start": LONG_AGO, "end": AGO}, "the API server's certificate is expired since 2020-01-01T00:00:00Z"),
        (
            {"start": SOON, "end": FAR},
            "the API server's certificate is valid from 2100-01-01T00:00:00Z on, and this machine",
        ),
        ({"alt": "DNS:elsewhere"}, "the API server's certificate is not for 127.0.0.1"),
    ],
)
def test_it_is_said_what_is_wrong_with_the_servers_certificate(authority: Authority, settings: Any, said: str):
    assert refusal(authority.server("bad", **settings), authority=authority.certificate).startswith(said)


def test_a_server_of_another_authority_is_not_believed(authority: Authority, tmp_path: Path):
    other = Authority(tmp_path / "other")
    said = refusal(authority.server("good"), authority=other.certificate)
    assert said.startswith(f"the API server's certificate is not signed by {other.certificate}")


def test_it_is_said_when_it_is_our_certificate_that_is_expired(authority: Authority):
    certificate, key = authority.issue("client", start=LONG_AGO, end=AGO)
    access = {"authority": authority.certificate, "certificate": certificate, "key": key}
    ours = f"our client certificate {certificate} is expired since 2020-01-01T00:00:00Z"
    assert refusal(authority.server("strict", clients=True), **access) == ours

    async def work(client: Client, api: FakeApi) -> None:
        api.rule = lambda _: status(401, "Unauthorized")  # what an API server says of it
        with pytest.raises(ApiError) as found:
            await client.get("/x")
        assert str(found.value) == f"{ours} (Unauthorized)"

    asking(work, authority.server("good"), **access)


def test_certificates_that_are_renewed_are_used_without_a_restart(authority: Authority, tmp_path: Path):
    pair = [tmp_path / "client.crt", tmp_path / "client.key"]

    def place(found: tuple[Path, Path]) -> None:
        for source, target in zip(found, pair, strict=True):
            target.write_bytes(source.read_bytes())

    async def work(client: Client, api: FakeApi) -> None:
        api.put(STATES, {"metadata": {"name": "n"}})
        with pytest.raises(UnreachableError, match="is expired since"):
            await client.get(f"{STATES}/n")
        place(authority.issue("fresh"))
        await client.get(f"{STATES}/n")
        pair[0].write_bytes(b"half of a cert")
        api.cut()
        await client.get(f"{STATES}/n")

    place(authority.issue("stale", start=LONG_AGO, end=AGO))
    access = {"authority": authority.certificate, "certificate": pair[0], "key": pair[1]}
    asking(work, authority.server("strict", clients=True), **access)


def test_inline_certificates_are_used_and_reach_no_disk(authority: Authority):
    certificate, key = (path.read_bytes() for path in authority.issue("inline"))

    async def work(client: Client, api: FakeApi) -> Any:
        api.put(STATES, {"metadata": {"name": "n"}})
        return await client.get(f"{STATES}/n")

    server = authority.server("strict", clients=True)
    assert asking(work, server, authority=authority.certificate, certificate=certificate, key=key)


def test_a_plain_server_behind_a_secure_address_is_said(authority: Authority):
    async def work() -> None:
        def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(Access((url,), authority=authority.certificate)) as client:
            with pytest.raises(UnreachableError, match=f"{url}: TLS fails: "):
                await client.get("/x")
        server.close()

    run(work())


def test_a_server_that_never_answers_is_left_after_its_time():
    async def work(client: Client, api: FakeApi) -> None:
        api.rule = lambda _: HANG
        with pytest.raises(UnreachableError, match=f"{api.url}: no answer in time"):
            await client.get("/x")

    asking(work)
