"""Questions asked from inside the pods: one process a pod stays open and tries all that it is told, at once.

What comes back is who answered, or `timeout`, or what else went wrong; only an answer of the right pod is a yes, and
only silence is a no. Ignores what should come back.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Timer
from typing import Any, Self

from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.model.errors import KernelError

QUICK, PATIENT = 1.0, 4.0
"""Seconds until silence is a no; and for what should have answered and did not: one packet may be lost under load."""
_OVERDUE = 60.0
"""Seconds after which a process that owes answers is ended."""

Question = dict[str, Any]
Answer = dict[str, Any]


@dataclass(slots=True)
class Asker:
    """The process in one pod. `uid`: of the pod that it is in, since another may come under its name."""

    pod: str
    uid: str
    process: subprocess.Popen[str]
    asked: int = 0

    @classmethod
    def into(cls, kube: KubeCluster, pod: Manifest) -> Self:
        """Open it in a pod that runs."""
        space, name, uid = (pod["metadata"][key] for key in ("namespace", "name", "uid"))
        command = (kube.binaries.path("kubectl"), f"--kubeconfig={kube.kubeconfig}", "exec", "-i", "-n", space, name)
        process = subprocess.Popen(
            (*command, "--", "probe", "probe"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return cls(f"{space}/{name}", uid, process)

    def ask(self, questions: Iterable[Question]) -> list[Answer]:
        """An answer to each, in order. Raises KernelError when the process ended before."""
        lines = [question | {"id": number} for number, question in enumerate(questions, self.asked)]
        self.asked += len(lines)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        self.process.stdin.flush()
        answers: dict[int, Answer] = {}
        overdue = Timer(_OVERDUE, self.process.kill)
        overdue.start()
        while len(answers) < len(lines):
            text = self.process.stdout.readline()
            if not text:
                overdue.cancel()
                raise KernelError(f"the probe in {self.pod} has ended with code {self.process.wait()}")
            answer = json.loads(text)
            answers[answer["id"]] = answer
        overdue.cancel()
        return [answers[line["id"]] for line in lines]

    def close(self) -> None:
        """End it and wait for that."""
        self.process.kill()
        self.process.communicate()


@dataclass(slots=True)
class Askers:
    """Those of all pods, opened when they are first asked."""

    kube: KubeCluster
    open: dict[str, Asker] = field(default_factory=dict)

    def ask(self, asked: Mapping[str, list[Question]], pods: Mapping[str, Manifest]) -> dict[str, list[Answer]]:
        """Every pod its questions, all of them at the same time."""
        for name in asked:
            self._reopen(name, pods[name])
        with ThreadPoolExecutor(max(len(asked), 1)) as threads:
            answers = threads.map(lambda name: self.open[name].ask(asked[name]), asked)
            return dict(zip(asked, answers, strict=True))

    def _reopen(self, name: str, pod: Manifest) -> None:
        if (held := self.open.get(name)) is not None:
            if held.uid == pod["metadata"]["uid"] and held.process.poll() is None:
                return
            held.close()
        self.open[name] = Asker.into(self.kube, pod)

    def close(self) -> None:
        """End all of them."""
        for each in self.open.values():
            each.close()
        self.open.clear()
