"""Fixtures that open pages in a headless browser."""

import json
import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SCREENSHOTS = Path(__file__).parent / "output"
# Snakemake's own stylesheet says so, in every report.
EXPECTED_WARNING = "should not be used in production"


class Browser:
    """A headless browser that remembers what its pages did."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path):
        """Open a file."""
        self.driver.get(Path(path).resolve().as_uri())

    def wait(self, script):
        """Wait until a piece of JavaScript gives something true, and give it."""
        return WebDriverWait(self.driver, 30).until(lambda driver: driver.execute_script(f"return {script}"))

    def wait_for_plot(self):
        """Wait until bokeh has drawn."""
        self.wait("window.Bokeh?.documents.length && Bokeh.documents[0].is_idle")

    def hover(self, y, x, frame=(0, 0)):
        """Point at a place of the image, in a frame that begins at a place; give what appears."""
        place = self.driver.execute_script(
            """
            const view = Object.values(Bokeh.index).find(view => view.frame);
            const box = view.el.getBoundingClientRect();
            const {x_scale, y_scale} = view.frame;
            return [box.x + x_scale.compute(arguments[1]), box.y + y_scale.compute(arguments[0])];
            """,
            *(y, x),
        )
        pointer = ActionChains(self.driver, duration=0)
        pointer.w3c_actions.pointer_action.move_to_location(
            *(round(a + b) for a, b in zip(place, frame, strict=True))
        )
        pointer.perform()
        return WebDriverWait(self.driver, 10).until(lambda _: self._tooltip())

    def _tooltip(self):
        return self.driver.execute_script(
            """
            const roots = [document], texts = [];
            while (roots.length) {
              for (const element of roots.pop().querySelectorAll("*")) {
                if (element.shadowRoot) roots.push(element.shadowRoot);
                if (element.matches(".bk-tooltip-row-value")) texts.push(element.textContent.trim());
              }
            }
            return texts;
            """
        )

    def click(self, text):
        """Click what shows a text."""
        self.wait_for(lambda: self._showing(text)).click()

    def wait_for(self, find):
        """Wait until a function finds something, and give it."""
        return WebDriverWait(self.driver, 30).until(lambda _: find())

    def _showing(self, text):
        found = self.driver.find_elements(By.XPATH, f"//*[text()='{text}']")
        return next((element for element in found if element.is_displayed()), None)

    def pixels(self, name):
        """Keep a screenshot, and give its bytes."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
        return (SCREENSHOTS / f"{name}.png").read_bytes()

    def complaints(self):
        """Return what pages wrote to the console as warnings and errors."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("WARNING", "SEVERE") and EXPECTED_WARNING not in entry["message"]
        ]

    def requests(self):
        """Return the addresses that pages asked for, but those of the browser's own pages."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("chrome")]


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """Start the browser once, with a profile of its own."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        reason = "Debian's packages chromium and chromium-driver are not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1400,1200"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1])) as driver:
        driver.get("about:blank")
        yield driver


@pytest.fixture
def browser(driver):
    """Return the browser; when the test is over, no page may have complained or asked a host for anything."""
    for log in ("browser", "performance"):
        driver.get_log(log)
    browser = Browser(driver)
    yield browser
    assert browser.complaints() == []
    assert {url.split(":")[0] for url in browser.requests()} <= {"file", "data", "about", "blob"}
