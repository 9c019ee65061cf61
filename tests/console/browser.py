"""A headless Chromium, and what every page of the console must keep."""

import base64
import os
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 30
WIDTHS = {"desktop": (1280, 900), "phone": (360, 780)}
SCHEMES = ["light", "dark"]


class Browser:
    def __init__(self, axe, pictures):
        options = webdriver.ChromeOptions()
        for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--force-device-scale-factor=1", "--lang=en"]:
            options.add_argument(argument)
        options.binary_location = os.popen("command -v chromium").read().strip()
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = os.popen("command -v chromedriver").read().strip()
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(PATIENCE)
        self.axe = Path(axe).read_text() if Path(axe).exists() else None
        self.pictures = Path(pictures)
        self.view("desktop", "light")

    def view(self, width, scheme):
        """A window of that width, in that colour scheme."""
        across, down = WIDTHS[width]
        metrics = {"width": across, "height": down, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, url):
        self.driver.get(url)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector="main"):
        return self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def until(self, what, condition):
        """Waits until a condition holds; pages change while they are looked at."""

        def holds(_):
            try:
                return condition()
            except (StaleElementReferenceException, JavascriptException):
                return False

        return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.1).until(holds, f"{what}\n{self.text()}")

    def until_text(self, text, selector="main"):
        self.until(f"no {text!r} in {selector}", lambda: text in self.text(selector))

    def until_live(self):
        self.until("the page is not live", lambda: self.text("#following") == "Live")

    def log(self):
        """What the browser has complained of since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def violations(self):
        """axe-core's rules that the page breaks; pages change, so they are held still."""
        if self.axe is None:
            return []
        self.driver.execute_script(self.axe)
        script = "const done = arguments[0]; axe.run(document).then((found) => done(found.violations), (error) => done(String(error)))"
        found = self.driver.execute_async_script(script)
        assert isinstance(found, list), found
        return [f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:5]}" for one in found]

    def overflow(self):
        """By how many pixels the page is wider than its window."""
        return self.driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def examine(self, name, url):
        """The page at both widths, light and dark: no broken rule, nothing beyond the window, no complaint; and its pictures."""
        for width in WIDTHS:
            for scheme in SCHEMES:
                self.view(width, scheme)
                self.open(url)
                place = f"{name}, {width}, {scheme}"
                if self.all("#live"):
                    self.until_live()
                assert not (broken := self.violations()), f"{place}: {broken}"
                assert self.overflow() <= 0, f"{place}: {self.overflow()} pixels too wide"
                # The whole page.
                size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
                clip = {"x": 0, "y": 0, "width": WIDTHS[width][0], "height": min(size["height"], 2400), "scale": 1}
                shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
                (self.pictures / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
        self.view("desktop", "light")
        assert not (complaints := self.log()), f"{name}: {complaints}"
        headings = self.driver.execute_script("return document.querySelectorAll('h1').length")
        assert headings == 1, f"{name}: {headings} first headings"

    def close(self):
        self.driver.quit()
