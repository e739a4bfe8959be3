"""Lists, watches and changes environments, by running kubectl as the user.

Apart from `state`, which holds what was seen. kubectl does the talking, so that every way to log in that the user's
kubeconfig knows works here too, and no right is needed but the user's own. Messages are read by `problems`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kubectl_spot.problems import NO_KUBECTL, Problem, problem_of
from kubectl_spot.ui.problems import old_definition
from kubectl_spot.ui.reading import key_of, mapping, text
from kubectl_spot.ui.state import State

KIND = "spotcomputeenvironments.spotcompute.dev"
API = "/apis/spotcompute.dev/v1alpha1"
PLURAL = "spotcomputeenvironments"

#: Objects in one answer of a list: few enough that a large cluster does not fill the memory.
LIST_OBJECTS = 200

#: A watch ends by itself after this time, and goes on where it ended: a connection that is dead unnoticed ends too.
WATCH_SECONDS = 240

#: Longest line of a watch. An object in etcd has 1.5 MiB at most.
LINE_BYTES = 8 * 1024 * 1024

#: Longest time for one command, and between two attempts to reach the cluster.
COMMAND_SECONDS, PAUSE_LIMIT_SECONDS = 30.0, 10.0


class KubectlFailed(Exception):
    """`KubectlFailed` says that kubectl could not do what was asked. `problem` says why, and what helps."""

    def __init__(self, problem: Problem, words: str = "") -> None:
        super().__init__(str(problem))
        self.problem, self.words = problem, words


class WatchExpired(Exception):
    """`WatchExpired` says that a watch cannot go on where it ended: everything must be listed anew."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`Kubectl` runs kubectl with the user's flags. Every method raises KubectlFailed."""

    flags: Sequence[str] = ()

    async def run(self, *arguments: str, stdin: str = "") -> str:
        """Returns what a command prints."""
        process = await self._start(arguments)
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin.encode()), COMMAND_SECONDS)
        except TimeoutError:
            raise KubectlFailed(problem_of(f"timed out after {COMMAND_SECONDS:g} seconds")) from None
        finally:
            await _end(process)
        if process.returncode != 0:
            words = err.decode(errors="replace")
            raise KubectlFailed(problem_of(words), words)
        return out.decode(errors="replace")

    async def lines(self, *arguments: str) -> AsyncIterator[bytes]:
        """Yields the lines that a command prints, as they come."""
        process = await self._start(arguments)
        try:
            assert process.stdout is not None  # noqa: S101 - asked for in _start
            assert process.stderr is not None  # noqa: S101 - the same
            heard = asyncio.create_task(process.stderr.read())
            async for line in process.stdout:
                yield line
            words = (await heard).decode(errors="replace")
            if await process.wait() != 0:
                raise KubectlFailed(problem_of(words), words)
        finally:
            await _end(process)

    async def _start(self, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        binary = shutil.which("kubectl")
        if binary is None:
            raise KubectlFailed(NO_KUBECTL)
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            binary, *self.flags, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_BYTES
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Cluster:
    """`Cluster` follows environments into a `State`, and changes them with the user's rights."""

    def __init__(self, kubectl: Kubectl, state: State, namespace: str | None) -> None:
        self._kubectl, self._state, self._namespace = kubectl, state, namespace
        self._state.scope = namespace or ""

    async def follow(self) -> None:
        """Lists and watches without end. What goes wrong is noted in the state, and tried again."""
        pause = 1.0
        while True:
            try:
                version = await self._list()
                pause = 1.0
                await self._describe()
                while True:
                    begun = asyncio.get_running_loop().time()
                    version = await self._watch(version)
                    if asyncio.get_running_loop().time() - begun < pause:
                        await asyncio.sleep(pause)  # something between here and the cluster ends every watch at once
            except WatchExpired:
                continue
            except KubectlFailed as failure:
                if "too old resource version" in failure.words:
                    continue
                self._state.troubled(failure.problem)
            except (ValueError, KeyError) as failure:  # what answers is no API server
                self._state.troubled(problem_of(f"its answer cannot be read: {type(failure).__name__}"))
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_LIMIT_SECONDS)

    async def own_namespace(self) -> str:
        """Returns the namespace of the kubeconfig's context."""
        if self._namespace:
            return self._namespace
        with contextlib.suppress(KubectlFailed):
            found = await self._kubectl.run("config", "view", "--minify", "--output=jsonpath={..namespace}")
            return found.strip() or "default"
        return "default"

    # -- what a user does

    async def check(self, manifest: dict[str, Any]) -> None:
        """Has the API server check a new environment, and stores nothing."""
        await self._create(manifest, "--dry-run=server")

    async def create(self, manifest: dict[str, Any]) -> None:
        """Creates an environment. One that exists already is never changed."""
        await self._create(manifest)

    async def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Sets the number of instances that are wanted."""
        await self._kubectl.run("scale", KIND, name, f"--namespace={namespace}", f"--replicas={replicas}")

    async def patch(self, namespace: str, name: str, spec: dict[str, Any]) -> None:
        """Changes fields of the spec."""
        patch = json.dumps({"spec": spec})
        await self._kubectl.run("patch", KIND, name, f"--namespace={namespace}", "--type=merge", f"--patch={patch}")

    async def delete(self, namespace: str, name: str, uid: str) -> None:
        """Deletes the very environment that the page has shown, and no namesake that came after it."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        path = f"{API}/namespaces/{quote(namespace, safe='')}/{PLURAL}/{quote(name, safe='')}"
        await self._kubectl.run("delete", f"--raw={path}", "--filename=-", stdin=json.dumps(options))

    async def _create(self, manifest: dict[str, Any], *flags: str) -> None:
        await self._kubectl.run("create", "--filename=-", "--output=name", *flags, stdin=json.dumps(manifest))

    # -- what it sees

    def _path(self) -> str:
        inside = f"/namespaces/{quote(self._namespace, safe='')}" if self._namespace else ""
        return f"{API}{inside}/{PLURAL}"

    async def _list(self) -> str:
        try:
            return await self._list_pages()
        except KubectlFailed as failure:
            if self._namespace or "forbidden" not in failure.words.casefold():
                raise
            self._namespace = await self.own_namespace()
        try:
            version = await self._list_pages()
        except KubectlFailed:
            self._namespace = None  # so that all are tried again, once the right was given
            raise
        self._state.scope = self._namespace
        return version

    async def _list_pages(self) -> str:
        keys: set[str] = set()
        rest = ""
        while True:
            answer = await self._kubectl.run("get", f"--raw={self._path()}?limit={LIST_OBJECTS}{rest}")
            page = json.loads(answer)
            for obj in page["items"]:
                keys.add(key_of(obj))
                self._state.put(obj)
            self._state.well()
            metadata = mapping(page["metadata"])
            if not metadata.get("continue"):
                self._state.keep_only(keys)
                return text(metadata.get("resourceVersion"))
            rest = f"&continue={quote(metadata['continue'], safe='')}"

    async def _watch(self, version: str) -> str:
        """Follows changes since a version until the watch ends. Returns the version to go on from."""
        asked = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}"
        async for line in self._kubectl.lines("get", f"--raw={self._path()}?{asked}"):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise WatchExpired
            obj = event["object"]
            version = text(obj["metadata"]["resourceVersion"])
            if event["type"] == "DELETED":
                self._state.drop(key_of(obj))
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._state.put(obj)
            self._state.well()
        self._state.well()
        return version

    async def _describe(self) -> None:
        """Looks whether the definition in the cluster has every field that the pages show."""
        try:
            answer = json.loads(await self._kubectl.run("get", f"--raw=/openapi/v3{API}"))
        except (KubectlFailed, ValueError):
            return
        schemas = mapping(mapping(answer).get("components")).get("schemas")
        self._state.hint("definition", old_definition(dict(mapping(schemas))))
