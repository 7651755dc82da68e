"""The page at `/`, in a real browser."""

import base64
import http.client
import json
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

from tests.serving.small_server import free_port, running

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """Headless Chromium through the WebDriver protocol."""

    def __init__(self, port):
        self.port = port
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--lang=en"]}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        session = self.call("POST", "/session", {"capabilities": capabilities})
        self.path = f"/session/{session['sessionId']}"

    def call(self, method, path, document=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, None if document is None else json.dumps(document))
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def open(self, url, width, height):
        self.call("POST", f"{self.path}/window/rect", {"width": width, "height": height})
        self.call("POST", f"{self.path}/url", {"url": url})

    def run(self, script, *arguments):
        document = {"script": script, "args": list(arguments)}
        return self.call("POST", f"{self.path}/execute/sync", document)

    def type(self, selector, text):
        found = self.call(
            "POST", f"{self.path}/element", {"using": "css selector", "value": selector}
        )
        self.call("POST", f"{self.path}/element/{found[ELEMENT]}/value", {"text": text})

    def press(self, key):
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        document = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self.call("POST", f"{self.path}/actions", document)

    def wait(self, script):
        """The first value of `script` that is not falsy."""
        deadline = time.monotonic() + 60
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, self.run("return document.body.innerText")
            time.sleep(0.05)
        return value


@contextmanager
def browsing():
    port = free_port()
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    browser = None
    try:
        deadline = time.monotonic() + 30
        while browser is None:
            try:
                browser = Browser(port)
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield browser
        browser.call("DELETE", browser.path)
    finally:
        driver.terminate()
        driver.wait(20)


ROWS = "return [...document.querySelectorAll('li')].map(item => item.innerText)"
STATUS = "return document.getElementById('status').innerText"
#: Gives the page a file as a drop or a paste does.
GIVE = """
const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "a.jpg", {type: "image/jpeg"}));
const event = arguments[1] === "drop"
  ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
  : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
document.getElementById("drop").dispatchEvent(event);
"""


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_name_no_other_host(server, path):
    status, body, headers = server.send("GET", path)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"http:" not in body
    assert b"https:" not in body


@pytest.mark.skipif(
    not (shutil.which("chromedriver") and shutil.which("chromium")),
    reason="needs Chromium and its driver: apt-get install chromium chromium-driver",
)
def test_a_person_classifies_photos(exported, other_exported, jpegs, offline, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpegs[0])
    models = [exported, f"other={other_exported}"]
    with running(models, api_keys=("secret",)) as (client, _, _), browsing() as browser:
        # A phone.
        browser.open(f"http://127.0.0.1:{client.port}/", 390, 844)
        browser.wait("return document.getElementById('keyed').checkVisibility()")
        browser.type("#key", "secret\ue004")
        browser.wait("return document.getElementById('model').options.length == 2")
        assert not browser.run("return document.getElementById('photo').checkVisibility()")
        assert browser.run("return document.activeElement.id") == "model"
        browser.press("\ue004")
        assert browser.run("return document.activeElement.id") == "file"
        browser.type("#file", str(path))
        rows = browser.wait(f"const r = (() => {{ {ROWS} }})(); return r.length && r")
        assert [row.split("\n")[0] for row in rows] == offline[0]["label_names"][:5]
        scores = browser.run("return [...document.querySelectorAll('meter')].map(m => m.value)")
        assert scores == pytest.approx(offline[0]["scores"][:5], abs=2e-5)
        assert browser.run(STATUS).startswith("Answered in ")
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        for image, way in ((jpegs[1], "drop"), (jpegs[2], "paste")):
            browser.run("document.getElementById('results').replaceChildren()")
            browser.run(GIVE, base64.b64encode(image).decode(), way)
            rows = browser.wait(f"const r = (() => {{ {ROWS} }})(); return r.length && r")
            expected = offline[jpegs.index(image)]
            assert [row.split("\n")[0] for row in rows] == expected["label_names"][:5]
        browser.type("#model", "other")
        browser.wait("return document.querySelector('li').innerText.startsWith('other')")
        browser.run(GIVE, base64.b64encode(b"no image").decode(), "drop")
        browser.wait("return document.getElementById('status').classList.contains('bad')")
        assert "not an image" in browser.run(STATUS)
        assert browser.run(ROWS) == []
