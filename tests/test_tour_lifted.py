"""Chapter 5 of the tour, lifted into a file of one's own, is a whole program.

By text alone: the imports, the makers of data, and the cells of the chapter
"A whole model in one page", and below them the lines that a reader would add.
"""

import os
import re
import subprocess
import sys

from conftest import ROOT

TOUR = ROOT / "start_Pytorch.py"
CHAPTER = "# %% [markdown]\n# ## A whole model in one page\n"

OWN_LINES = """
torch.manual_seed(0)
images, labels = font_digits("train", 2000)
model = Net()
train_net(model, images, labels, epochs=3)
new_images, new_labels = font_digits("validation", 300)
print("accuracy", accuracy(model, new_images, new_labels))

torch.save(model.state_dict(), "net.pt")
loaded = Net()
loaded.load_state_dict(torch.load("net.pt"))
print("loaded", accuracy(loaded, new_images, new_labels))

where = Path(matplotlib.get_data_path(), "fonts", "ttf", "cmr10.ttf")
picture = Image.new("L", (56, 56))  # twice as large: it is made smaller
font = ImageFont.truetype(str(where), size=52)
ImageDraw.Draw(picture).text((28, 28), "4", 255, font, anchor="mm")
picture.save("four.png")
label, probability = predict_image(loaded, Path("four.png"))
print("predicted", label, probability)
"""


# The sections of the chapter run there, too.
CALLS = """
print("the sections")
device = torch.device("cpu")
eval_and_no_grad_before_predicting(device)
save_and_load_a_state_dict(device)
predict_one_image_of_your_own(device)
"""


def lifted() -> str:
    """Return imports, makers of data and the cells of chapter 5, as text."""
    text = TOUR.read_text(encoding="ascii")
    start = re.search(r"^import ", text, flags=re.MULTILINE).start()
    imports = text[start : text.index("# %%")]
    chapter = text[text.index(CHAPTER) + len(CHAPTER) :]
    chapter = chapter.partition("# %% [markdown]\n")[0]
    makers = text[text.index("def random_affine(") :]
    makers = makers.partition("# %%\ndef main()")[0]
    return f"{imports}\n{makers}\n{chapter}"


def test_chapter_5_runs_in_a_file_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text(lifted() + OWN_LINES + CALLS)
    command = [sys.executable, "-W", "error", "own.py"]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"own.py", "net.pt", "four.png"}
    mine, _, sections = done.stdout.partition("the sections\n")
    assert "predicted: 4" in sections

    said = {}  # the first word of each line, and the rest of it
    for line in mine.splitlines():
        word, _, rest = line.partition(" ")
        said.setdefault(word, []).append(rest)
    losses = [float(rest.split()[-1]) for rest in said["epoch"]]
    assert len(losses) == 3 and losses[2] < losses[0] / 1.5  # it trains
    (held_out,) = said["accuracy"]
    assert 0.35 < float(held_out) <= 1
    assert said["loaded"] == [held_out]  # it saves and loads
    (answer,) = said["predicted"]
    label, probability = answer.split()
    assert label == "4"  # it predicts
    assert 0.2 < float(probability) <= 1
