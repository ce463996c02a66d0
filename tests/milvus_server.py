"""A Milvus server in a network of its own, since it listens on all addresses, and what is run beside it.

It needs the wheel `milvus` 2.3.5: pip install milvus==2.3.5, or unpack the wheel into a folder that PYTHONPATH names.
"""

import importlib
import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
PORT = 19530


def missing():
    """Returns in words what a server needs and is not here, "" if there is all."""
    programs = [name for name in ("unshare", "nsenter", "ip") if not shutil.which(name)]
    if programs or importlib.util.find_spec("milvus") is None:
        return f"needs {', '.join([*programs, 'a server: pip install milvus==2.3.5'])}"
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        return "needs the right to make a network of its own"
    return ""


class Server:
    """A server that keeps its data in FOLDER/server, killed and started as often as one likes, at one address.

    `begin` and `run` run Python beside it.
    """

    def __init__(self, folder):
        self.data, self._env = folder / "server", {**os.environ, "XDG_CONFIG_HOME": str(folder / "config")}
        words = ["unshare", "--net", sys.executable, "-m", "tests.milvus_server", str(self.data)]
        self._starter = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.uri = f"http://127.0.0.1:{PORT}"
        self.start()

    def start(self):
        """Starts the server, once it has been killed. Returns when it says that it is well."""
        self._starter.stdin.write("start\n")
        self._starter.stdin.flush()
        self._number = int(self._starter.stdout.readline())

    def kill(self):
        os.kill(self._number, signal.SIGKILL)

    def end(self):
        self.kill()
        self._starter.kill()
        self._starter.communicate()

    def begin(self, *words):
        """Starts Python with these words."""
        words = ["nsenter", f"--net=/proc/{self._starter.pid}/ns/net", sys.executable, *map(str, words)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, cwd=ROOT, env=self._env, text=True, **streams)

    def run(self, *words):
        """Runs Python. Returns the exit code, what was printed, and the errors."""
        running = self.begin(*words)
        out, errors = running.communicate(timeout=300)
        return running.returncode, out, errors

    def nafp(self, *words):
        return self.run("-m", "nafp", *words)


def main(folder):
    """Starts a server for each line on standard input, and prints the number of its process."""
    milvus = importlib.import_module("milvus")

    class SamePort(milvus.MilvusServerConfig):
        """Takes ports that only the last seconds of old connections are at, as the server itself does.

        The wheel holds such a port for a used one, and would start the server at another address than before.
        """

        def try_bind_port(self, port):
            bound = socket.socket()
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                bound.bind(("127.0.0.1", port))
                bound.listen()
            except OSError:
                bound.close()
                return None
            return bound

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    servers = []  # The end of such an object would stop the server.
    for _ in sys.stdin:
        if servers:
            servers[-1].server_proc.wait()
        servers.append(milvus.MilvusServer(SamePort(proxy_port=PORT)))
        servers[-1].set_base_dir(folder)
        servers[-1].start()
        print(servers[-1].server_proc.pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
