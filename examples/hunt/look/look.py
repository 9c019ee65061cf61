"""Looks at the pages of a hunt in headless Chromium, with a browser each for a player, the board and the organiser at once.

Usage: look.py HUNT-BINARY FOLDER-FOR-PICTURES. Starts `hunt demo`, so the daybook binary must be beside that of hunt.
"""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PATIENCE_S = 60


def eventually(what, check):
    """The first true value of `check`."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if found := check():
                return found
        except Exception as error:  # A page may be on its way.
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen: {locals().get('last')}")


def browser(width=1280, height=900):
    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = shutil.which("chromium")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def post(url, body, token):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    return json.load(urllib.request.urlopen(request, timeout=20))


def act(page, do, **fields):
    """Fills and sends a form of the organiser's page."""
    page.execute_script("document.querySelector('details').open = true")
    button = page.find_element(By.CSS_SELECTOR, f"button[value='{do}']")
    form = button.find_element(By.XPATH, "./ancestor::form")
    for name, value in fields.items():
        field = form.find_element(By.NAME, name)
        if field.tag_name == "select":
            field.find_element(By.XPATH, f"./option[.='{value}']").click()
        else:
            field.send_keys(value)
    button.click()
    eventually("the organiser's page", lambda: page.find_element(By.TAG_NAME, "h1").text.startswith("Organiser"))


def main(binary, pictures):
    demo = subprocess.Popen(
        [binary, "demo", "--players", "40", "--seconds", "90", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        lines = [demo.stdout.readline() for _ in range(3)]
        url = re.search(r"(http\S+)/board", lines[0])[1]
        token = lines[2].strip()
        look(url, token, pictures)
    finally:
        demo.terminate()
        demo.wait(20)


def look(url, token, pictures):
    board, player, organiser = browser(), browser(420, 900), browser()
    try:
        code = post(f"{url}/api/organiser/teams", [{"id": "owls", "name": "The Owls"}], token)[0]["code"]

        organiser.get(f"{url}/organiser")
        organiser.find_element(By.NAME, "token").send_keys(token)
        organiser.find_element(By.CSS_SELECTOR, "button").click()
        eventually("signing in", lambda: "New team" in organiser.page_source)

        player.get(url)
        player.find_element(By.NAME, "code").send_keys("wrong.code")
        player.find_element(By.NAME, "name").send_keys("Ann")
        player.find_element(By.CSS_SELECTOR, "button").click()
        eventually("a refusal", lambda: "needs a valid token" in player.page_source)
        player.find_element(By.NAME, "code").send_keys(code)
        player.find_element(By.NAME, "name").send_keys("Ann <b>")
        player.find_element(By.CSS_SELECTOR, "button").click()
        eventually("the start", lambda: player.find_element(By.ID, "answer-c00"))

        board.get(f"{url}/board")
        eventually("a live board", lambda: board.find_element(By.ID, "following").text == "Live")
        eventually("movement", lambda: [cell for cell in board.find_elements(By.CSS_SELECTOR, "td.movement span") if cell.text])

        # What is typed stays while the page changes.
        field = player.find_element(By.ID, "answer-c00")
        field.send_keys("owl")
        before = player.find_element(By.CSS_SELECTOR, "#live").text
        eventually("a change", lambda: player.find_element(By.CSS_SELECTOR, "#live").text != before)
        assert player.find_element(By.ID, "answer-c00").get_attribute("value") == "owl"
        field.submit()
        eventually("a wrong answer", lambda: "is not the answer" in player.page_source)

        # The key is mended: what was wrong is right now, and the board shows it without a reload.
        act(organiser, "mend", challenge="c00", answer="Owl")
        eventually("solved", lambda: "Solved" in player.find_element(By.CSS_SELECTOR, "[data-key='c00']").text)
        eventually("the board", lambda: board.find_elements(By.CSS_SELECTOR, "tr[data-key='owls']"))
        act(organiser, "adjust", team="owls", points="5000", reason="They flew")
        eventually("first place", lambda: board.find_element(By.CSS_SELECTOR, "tr[data-key='owls'] .rank").text == "1")
        time.sleep(1)  # Rows that change places take a moment.
        for page, name in [(board, "board"), (player, "player"), (organiser, "organiser")]:
            page.save_screenshot(f"{pictures}/hunt-{name}.png")
        width = player.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"the player's page is {width} pixels wider than a phone"
        act(organiser, "disqualify", team="owls", reason="No wings")
        eventually("leaving the board", lambda: not board.find_elements(By.CSS_SELECTOR, "tr[data-key='owls']"))
        eventually("the reason", lambda: "No wings" in player.page_source)
        for page in (board, player, organiser):
            bad = [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE" and "favicon" not in entry["message"]]
            # The refused code and the 401 that came with it are meant.
            bad = [entry for entry in bad if "401" not in entry["message"]]
            assert not bad, bad
    finally:
        for page in (board, player, organiser):
            page.quit()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
    print("the pages of the hunt are as they should be")
