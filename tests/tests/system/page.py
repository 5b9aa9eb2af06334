"""Opens a page in a headless Chromium, drives it over the DevTools protocol, and writes what it saw as JSON.

    page.py BROWSER PAGE PROFILE [SCREENSHOTS]

PROFILE is a folder for the browser's own files. The protocol goes through a pipe: messages of JSON, each ended by a zero byte.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time

# Whatever is waited for comes, or the test ends.
signal.alarm(300)

browser, page, profile = sys.argv[1:4]
screenshots = sys.argv[4] if len(sys.argv) > 4 else None

to_browser, from_us = os.pipe()
to_us, from_browser = os.pipe()
# The browser reads at 3 and writes at 4: first out of the way, then into place.
ours = [os.dup(fd) for fd in (from_us, to_us)]
theirs = [os.dup(fd) for fd in (to_browser, from_browser)]


def into_place():
    os.dup2(theirs[0], 3)
    os.dup2(theirs[1], 4)


flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions",
         "--disable-dev-shm-usage", "--remote-debugging-pipe", "--window-size=1280,1400", f"--user-data-dir={profile}",
         "about:blank"]
process = subprocess.Popen([browser, *flags], close_fds=False, preexec_fn=into_place, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
for fd in (to_browser, from_us, to_us, from_browser, *theirs):
    if fd not in ours:
        os.close(fd)
writer, reader = os.fdopen(ours[0], "wb", buffering=0), os.fdopen(ours[1], "rb")

events, buffer, last = [], b"", 0


def receive():
    global buffer
    while b"\0" not in buffer:
        piece = reader.read1(1 << 16)
        assert piece, "the browser went away"
        buffer += piece
    message, _, buffer = buffer.partition(b"\0")
    return json.loads(message)


def call(method, session=None, **params):
    global last
    last += 1
    message = {"id": last, "method": method, "params": params} | ({"sessionId": session} if session else {})
    writer.write(json.dumps(message).encode() + b"\0")
    while True:
        answer = receive()
        if answer.get("id") == last:
            assert "error" not in answer, (method, answer["error"])
            return answer["result"]
        events.append(answer)


try:
    target = call("Target.createTarget", url="about:blank")["targetId"]
    session = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        call(f"{domain}.enable", session)

    def evaluate(expression):
        found = call("Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    UNTIL = "new Promise(done => {{ const look = () => ({0}) ? done(true) : setTimeout(look, 20); look(); }})"
    call("Page.navigate", session, url="file://" + os.path.abspath(page))
    # What is asked while the page is exchanged may be lost with the one before: it is asked again.
    while True:
        try:
            if evaluate("document.documentElement?.dataset.ready === 'yes'"):
                break
        except AssertionError:
            pass
        time.sleep(0.02)

    def table(name):
        return evaluate(f"""({{
            heads: [...document.querySelectorAll('#{name} th')].map(cell => [cell.textContent, cell.getAttribute('aria-sort')]),
            rows: [...document.querySelectorAll('#{name} tbody tr')].map(row => [...row.children].map(cell => cell.textContent)),
            status: document.querySelector('#{name} [role=status]').textContent,
        }})""")

    def search(name, text):
        evaluate(f"""(() => {{ const field = document.getElementById('{name}-search'); field.value = {json.dumps(text)};
            field.dispatchEvent(new Event('input')); }})()""")
        evaluate(UNTIL.format(f"document.getElementById('{name}').dataset.searched === {json.dumps(text)}"))
        return table(name)

    def click(name, head):
        evaluate(f"[...document.querySelectorAll('#{name} th button')].find(one => one.textContent === {json.dumps(head)}).click()")
        return table(name)

    def press(*keys):
        for key, code in keys:
            for kind in ("keyDown", "keyUp"):
                call("Input.dispatchKeyEvent", session, type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                     **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}))

    def focused():
        return evaluate("document.activeElement.id || document.activeElement.textContent || document.activeElement.tagName")

    saw = {"title": evaluate("document.title"), "lead": evaluate("document.querySelector('.lead').textContent"),
           "answer": evaluate("""Object.fromEntries([...document.querySelectorAll('dl.answer dt')]
               .map(head => [head.textContent, head.nextElementSibling.textContent]))""")}
    saw["elements"] = evaluate("document.querySelectorAll('body *').length")
    saw["foreign"] = evaluate("document.querySelectorAll('img, iframe, object, embed, link, b').length")
    saw["fired"] = evaluate("typeof window.fired")
    saw["objects"] = table("objects")
    saw["biggest"] = click("objects", "Size")
    saw["smallest"] = click("objects", "Size")
    saw["found"] = search("objects", "needle 77777")
    saw["nothing"] = search("objects", "no such thing at all")
    saw["all"] = search("objects", "")
    evaluate("[...document.querySelectorAll('#objects button')].find(one => one.textContent === 'Last').click()")
    saw["last"] = table("objects")
    for name in ("days", "workers", "grants", "happenings"):
        saw[name] = table(name)
    saw["charts"] = evaluate("""Object.fromEntries(['by-day', 'timeline'].map(name =>
        [name, document.querySelectorAll('#' + name + ' svg.chart rect').length]))""")
    saw["tree"] = evaluate("[...document.querySelectorAll('#tree .name')].map(name => name.textContent)")
    # By keyboard alone: the first stop is the way to the answer, a head of a table sorts on Enter.
    evaluate("scrollTo(0, 0)")
    press(("Tab", 9))
    saw["first stop"] = focused()
    evaluate("document.querySelector('#objects th button').focus()")
    press(("Enter", 13))
    saw["by keyboard"] = table("objects")["heads"][0]
    # A control has a name, and each id stands once.
    saw["nameless"] = evaluate("""[...document.querySelectorAll('button, input, select, [role=region], [role=img]')].filter(one =>
        !one.getAttribute('aria-label') && !one.textContent.trim()).length""")
    saw["doubled"] = evaluate("""(() => { const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
        return ids.length - new Set(ids).size; })()""")

    for scheme in ("light", "dark"):
        call("Emulation.setEmulatedMedia", session, features=[{"name": "prefers-color-scheme", "value": scheme}])
        saw[scheme] = evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        if screenshots:
            for part, where in (("top", "scrollTo(0, 0)"), ("tree", "document.getElementById('h-tree').scrollIntoView()")):
                evaluate(where)
                shot = call("Page.captureScreenshot", session, format="png")["data"]
                with open(f"{screenshots}/{scheme}-{part}.png", "wb") as file:
                    file.write(base64.b64decode(shot))
    evaluate("addEventListener('afterprint', () => { window.printed = true; }); addEventListener('beforeprint', () => "
             "{ window.rows = document.querySelectorAll('#objects tbody tr').length; })")
    call("Page.bringToFront", session)
    pdf = base64.b64decode(call("Page.printToPDF", session, printBackground=False)["data"])
    evaluate(UNTIL.format("window.printed"))
    saw["print"] = {"pdf": pdf[:5].decode(), "bytes": len(pdf), "rows": evaluate("window.rows"),
                    "after": len(table("objects")["rows"])}
    if screenshots:
        with open(f"{screenshots}/print.pdf", "wb") as file:
            file.write(pdf)

    evaluate("1")
    saw["console"] = [event["params"] for event in events
                      if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]
    saw["asked"] = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The policy is in force: what the page did not bring is refused, and said.
    saw["refused"] = evaluate("""(() => { try { document.body.insertAdjacentHTML('beforeend', '<i>x</i>'); return 'no'; }
        catch (error) { return error.name; } })()""")
    json.dump(saw, sys.stdout)
finally:
    process.kill()
    process.wait()
