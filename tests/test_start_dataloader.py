"""start_dataloader.py: what its sections return, against oracles."""

import collections
import csv
import itertools
import math
import multiprocessing
import pickle
import re
import shutil
import struct
import wave
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch.utils.data import DataLoader

import start_dataloader as script

CPU = torch.device("cpu")
MNIST = ROOT.parent / "shared" / "data"
needs_mnist = pytest.mark.skipif(
    not (MNIST / "MNIST" / "raw").is_dir(), reason="no real MNIST beside us"
)
METHODS = multiprocessing.get_all_start_methods()


@pytest.fixture(scope="module")
def digits():
    """Return a small data set, drawn once."""
    return {"train": script.font_digits("train", 600)}


# The data.


def test_a_small_loader_by_hand():
    batches = script.a_loader_is_six_lines_of_python(count=11, batch_size=3)
    assert [len(numbers) for numbers, _ in batches] == [3, 3, 3, 2]
    seen = [int(n) for numbers, _ in batches for n in numbers[:, 0]]
    assert sorted(seen) == list(range(11)) != seen
    squares = [int(n) for _, squares in batches for n in squares]
    assert squares == [n * n for n in seen]


def test_ready_made_digits_come_back_as_they_were(digits, tmp_path):
    result = script.ready_made_data_are_transformed_when_indexed(
        digits, "digits", tmp_path / "unused", tmp_path
    )
    images, labels = digits["train"]
    assert result["raw"].dtype == torch.uint8
    off = result["raw"] / 255 - images[:, 0]
    assert off.abs().max() <= 0.5 / 255 + 1e-6
    image, label = result["as it is"]
    assert image.size == (28, 28) and label == labels[0]
    pixels, name = result["transformed"]
    assert name.startswith(f"{label} - ")
    assert pixels.flatten().tolist() == pytest.approx(
        [byte / 255 for byte in image.tobytes()]
    )
    assert not (tmp_path / "unused").exists()


@needs_mnist
def test_ready_made_mnist_is_what_its_files_say(tmp_path):
    images, labels = script.torchvision_digits("mnist", "train", MNIST)
    data = {"train": (images[:10], labels[:10])}
    result = script.ready_made_data_are_transformed_when_indexed(
        data, "mnist", MNIST, tmp_path
    )
    raw = MNIST / "MNIST" / "raw"
    with open(raw / "train-images-idx3-ubyte", "rb") as file:
        magic, count, height, width = struct.unpack(">4i", file.read(16))
        first = list(file.read(height * width))
    assert (magic, count) == (2051, 60_000)
    assert result["raw"].shape == (count, height, width)
    assert result["raw"][0].flatten().tolist() == first
    with open(raw / "train-labels-idx1-ubyte", "rb") as file:
        assert result["as it is"][1] == file.read(9)[8]


# Images and tables.


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one small image in each mode and format."""
    for index, (mode, suffix) in enumerate(
        [
            ("RGB", "png"),
            ("L", "png"),
            ("1", "png"),
            ("P", "gif"),
            ("RGBA", "png"),
            ("LA", "png"),
            ("I;16", "png"),
            ("CMYK", "jpg"),
            ("RGB", "webp"),
            ("L", "tiff"),
        ]
    ):
        image = Image.new(mode, (5 + index, 7))
        image.save(tmp_path / f"{mode.replace(';', '')}.{suffix}")
    return tmp_path


def test_images_of_any_mode_and_format(folder):
    names = sorted(path.name for path in folder.iterdir())
    table = folder / "table.csv"
    table.write_text("".join(f"{name},{name[-3:]}\n" for name in names))
    dataset = script.ImageTable(folder, table)
    assert len(dataset) == 10
    for index, name in enumerate(names):
        image, target = dataset[index]
        with Image.open(folder / name) as file:
            assert image.size == file.size
        assert image.mode == "RGB"
        assert dataset.classes[target] == name[-3:]
    readable, sizes, errors = dataset.survey()
    assert readable == list(range(10)) and errors == []
    assert sizes == {(5 + index, 7): 1 for index in range(10)}


ROWS = [["L.png", "grey"], ["P.gif", "pal, ette"], ["lost.png", "grey"]]


@pytest.mark.parametrize(
    "content",
    [
        b'L.png,grey\nP.gif,"pal, ette"\nlost.png,grey\n',
        b'file,label\nL.png,grey\nP.gif,"pal, ette"\nlost.png,grey',
        b'\xef\xbb\xbfL.png,grey\nP.gif,"pal, ette"\nlost.png,grey\n',
        b"\xef\xbb\xbffile name,label\r\nL.png,grey\r\n"
        b'P.gif,"pal, ette"\r\nlost.png,grey\r\n',
        b'\n L.png , grey\n\n"P.gif","pal, ette"\n,\nlost.png,grey\n\n',
        b'file,label,split\nL.png,grey,1\nP.gif,"pal, ette",2\nlost.png,grey,3',
        b'L.png,grey\rP.gif,"pal, ette"\rlost.png,grey\r',
    ],
    ids=["plain", "header", "mark", "all", "blanks", "third column", "CR"],
)
def test_tables_as_people_write_them(content, folder):
    table = folder / "table.csv"
    table.write_bytes(content)
    dataset = script.ImageTable(folder, table)
    assert dataset.rows == ROWS and dataset.classes == ["grey", "pal, ette"]
    assert dataset[1][1] == 1
    with pytest.raises(OSError, match="^lost.png: No such file"):
        dataset[2]


def test_a_file_without_a_suffix_is_no_header(folder):
    shutil.copy(folder / "L.png", folder / "scan")
    table = folder / "table.csv"
    table.write_text("scan,grey\nL.png,grey\n")
    assert len(script.ImageTable(folder, table)) == 2
    (folder / "scan").unlink()
    assert len(script.ImageTable(folder, table)) == 1


def test_both_transforms_are_used_and_numbers_sort_as_text(folder):
    table = folder / "table.csv"
    table.write_text("L.png,10\nRGB.png,9\n")
    dataset = script.ImageTable(
        folder, table, lambda image: image.size, lambda target: -target - 1
    )
    assert dataset.classes == ["10", "9"]
    assert [dataset[0], dataset[1]] == [((6, 7), -1), ((5, 7), -2)]
    again = pickle.loads(pickle.dumps(script.ImageTable(folder, table)))
    assert again[0][0].tobytes() == bytes(6 * 7 * 3)  # so a worker can use it


def test_our_own_folder_and_table(digits):
    result = script.a_folder_and_a_table_are_a_data_set(
        digits, None, None, size=20
    )
    labels = digits["train"][1][:11].tolist()
    assert result["readable"] == list(range(11))
    assert result["sizes"] == {(28, 28): 6, (56, 56): 5}
    assert [error.partition(":")[0] for error in result["errors"]] == [
        f"{digits['train'][1][11]}/11.bmp",
        f"{digits['train'][1][11]}/lost.png",
    ]
    batch, targets = result["batch"]
    assert (
        batch.shape == (11, 3, 20, 20) and 0 <= batch.min() < batch.max() <= 1
    )
    names = [result["dataset"].classes[target] for target in targets]
    assert names == [str(label) for label in labels]
    # Every second one is red on black, the others grey.
    red = [(image[1:].abs().max() < 0.2).item() for image in batch]
    assert red == [bool(index % 2) for index in range(11)]


def test_a_thousand_images_of_which_three_are_damaged(command_line):
    """As a user runs it: read, counted, the three named, exit status 0."""
    folder = Path("mine")
    folder.mkdir()
    names = [f"{index:03}.png" for index in range(1000)]
    whole = {}
    for size in ((8, 6), (4, 4)):
        Image.new("L", size, 99).save("one.png")
        whole[size] = Path("one.png").read_bytes()
    for index, name in enumerate(names):
        (folder / name).write_bytes(whole[(4, 4) if index < 300 else (8, 6)])
    (folder / names[5]).write_bytes(b"")
    (folder / names[500]).write_bytes(whole[8, 6][:50])
    (folder / names[999]).write_text("<html>not found</html>")
    with open("mine.csv", "w", newline="") as file:
        rows = [(name, ("even", "odd")[i % 2]) for i, name in enumerate(names)]
        csv.writer(file).writerows([("file", "class"), *rows])
    flags = ("--images", "mine", "--labels", "mine.csv", "--device", "cpu")
    name = "a_folder_and_a_table_are_a_data_set"
    status, output, errors = command_line(
        "start_dataloader", *flags, "--only", name
    )
    assert (status, errors) == (0, "")
    for text in ("1,000 images", "2 classes", "997 can be read"):
        assert text in output
    assert "698 of 8 x 6" in output and "299 of 4 x 4" in output
    named = re.findall(r"cannot be read: (\S+):", output)
    assert named == ["005.png", "500.png", "999.png"]
    assert "(16, 3, 32, 32)" in output


# The sections.


def test_bytes_become_normalized_tensors(digits):
    stages = script.bytes_become_normalized_tensors(digits)
    images = digits["train"][0]
    stage, scaled, normalized = stages.values()
    assert stage.dtype == torch.uint8
    torch.testing.assert_close(scaled, images[0], atol=0.5 / 255, rtol=0)
    # Mean and deviation by a slow second way.
    pixels = images.double().flatten().tolist()
    mean = math.fsum(pixels) / len(pixels)
    squares = math.fsum((pixel - mean) ** 2 for pixel in pixels)
    deviation = math.sqrt(squares / len(pixels))
    expected = [
        (pixel - mean) / deviation for pixel in scaled.flatten().tolist()
    ]
    assert normalized.flatten().tolist() == pytest.approx(expected, abs=1e-4)


def test_a_box_moves_with_its_image(digits, tmp_path):
    result = script.a_transform_moves_image_and_box_together(digits, tmp_path)
    # Mirrored in a width of 28, then 8 columns are added on the left.
    assert result["before"] == [4, 6, 10, 20]
    assert result["after"] == [28 - (4 + 10) + 8, 6, 10, 20]


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (9, 3), (5, 8)])
def test_batches(count, batch_size):
    epochs = script.every_epoch_shuffles_and_the_last_batch_is_smaller(
        count=count, batch_size=batch_size
    )
    whole, rest = divmod(count, batch_size)
    sizes = [batch_size] * whole
    for how, batches in epochs.items():
        smaller = [rest] if rest and how != "drop_last" else []
        assert [len(batch) for batch in batches] == sizes + smaller, how
    flat = list(itertools.chain(*epochs["in order"]))
    assert flat == list(range(count))
    first = list(itertools.chain(*epochs["shuffled, epoch 1"]))
    assert sorted(first) == flat != first


def test_splits():
    held_out = script.splits_keep_groups_apart_or_classes_in_proportion(
        people=8, photographs=5
    )
    assert [len(set(part)) for part in held_out.values()] == [10, 10, 10]
    people = collections.Counter(i // 5 for i in held_out["by group"])
    assert sorted(people.values()) == [5, 5]  # two people, all of them
    smiles = [i for i in held_out["stratified"] if i % 5 == 0]
    assert len(smiles) == 2  # a quarter of eight


@pytest.mark.parametrize("seed", [2, 3])
def test_weighted_sampling(seed):
    drawn = script.weights_draw_a_rare_class_as_often(
        common=380, rare=20, seed=seed
    )
    assert drawn["as they come"] == [380, 20]
    common, rare = drawn["weighted"]
    assert common + rare == 400 and abs(rare - 200) < 45


def test_vocabulary_numbers_words_by_frequency():
    texts = ["To be, or not to be?", "To do is to be.", "Do be do!"]
    vocabulary = script.Vocabulary(texts, minimum=2)
    # be 4, to 4, do 3; the rest once.
    assert set(vocabulary.words[2:4]) == {"to", "be"}
    assert vocabulary.words[4:] == ["do"] and len(vocabulary) == 5
    numbers = vocabulary.encode("to NOT do, <pad>")
    assert vocabulary.decode(numbers) == [
        *("to", "<unk>", "do", "<unk>"),
        *("<unk>", "<unk>", "<unk>"),
    ]
    assert script.Vocabulary.tokens("x1 += 20.5") == [
        *("x", "1", "+", "=", "20", ".", "5")
    ]


def test_words_become_numbers():
    result = script.words_become_numbers(minimum=3)
    texts = list(script.topics.topics.values())
    train = " ".join(t for i, t in enumerate(texts) if i % 4 != 0).lower()
    tokens = re.findall(r"[a-z]+|\d+|[^\sa-z0-9]", train)
    counts = collections.Counter(tokens)
    rare = sum(count for count in counts.values() if count < 3)
    assert result["training"] == pytest.approx(rare / len(tokens), abs=1e-4)
    known = {word for word, count in counts.items() if count >= 3}
    assert set(result["vocabulary"].words) == known | {"<pad>", "<unk>"}


def test_padding_lengths_and_mask():
    passages = [[3], [5, 6, 7, 8], [9, 9]]
    (batch,) = DataLoader(passages, 3, collate_fn=script.pad_passages)
    assert batch["numbers"].tolist() == [
        *([3, 0, 0, 0], [5, 6, 7, 8], [9, 9, 0, 0])
    ]
    assert batch["lengths"].tolist() == [1, 4, 2]
    assert batch["mask"].int().sum(dim=1).tolist() == [1, 4, 2]
    assert batch["mask"][2].tolist() == [True, True, False, False]


def test_batches_of_similar_length_hold_each_sample_once():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 100, (103,), generator=generator).tolist()
    sampler = script.SimilarLengths(lengths, 10, generator, pool=5)
    epochs = [list(sampler), list(sampler)]
    for batches in epochs:
        assert len(batches) == len(sampler) == 11
        assert sorted(itertools.chain(*batches)) == list(range(103))
        # A pool of 50 is sorted: its batches do not overlap in length.
        spread = [
            max(lengths[i] for i in batch) - min(lengths[i] for i in batch)
            for batch in batches
        ]
        assert sum(spread) / len(spread) < 40
    assert epochs[0] != epochs[1]
    # From one pool, whose batches must not come from short to long.
    (*whole,) = script.SimilarLengths(lengths, 10, generator, pool=11)
    longest = [max(lengths[i] for i in batch) for batch in whole]
    assert longest != sorted(longest)


def test_batches_of_like_length_waste_less_padding():
    wasted = script.batches_of_like_length_waste_less_padding(count=800)
    assert 0 < wasted["similar"] < wasted["shuffled"] / 2 < 0.5


def test_embedding_bag():
    means = script.an_embedding_bag_is_the_mean_of_its_vectors()
    torch.manual_seed(0)
    vectors = torch.randn(6, 4).tolist()
    expected = [
        [sum(column) / len(passage) for column in zip(*rows, strict=True)]
        for passage in ([2, 3, 4], [5], [3, 2])
        for rows in [[vectors[number] for number in passage]]
    ]
    for mean in means.values():
        torch.testing.assert_close(mean, torch.tensor(expected))


def test_recordings_are_read_as_the_file_says(tmp_path):
    samples = [0, 1, -1, 16384, -32768, 32767]
    with wave.open(str(tmp_path / "07-a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack("<6h", *samples))
    dataset = script.Recordings(tmp_path)
    waveform, key = dataset[0]
    assert len(dataset) == 1 and key == 7
    assert waveform.tolist() == [sample / 32768 for sample in samples]
    batch, lengths, keys = script.pad_recordings(
        [(waveform, key), (waveform[:2], 8)]
    )
    assert batch.shape == (2, 6) and batch[1, 2:].abs().sum() == 0
    assert (lengths.tolist(), keys.tolist()) == ([6, 2], [7, 8])


def test_recordings_are_written_and_read(tmp_path):
    waveform = torch.tensor([0.0, 0.5, -0.25, 1.0, -1.0, 3.0])
    script.Recordings.write(tmp_path / "12.wav", waveform, 8000)
    with wave.open(str(tmp_path / "12.wav")) as file:
        assert file.getframerate() == 8000 and file.getnchannels() == 1
        assert struct.unpack("<6h", file.readframes(6)) == (
            *(0, 16384, -8192, 32767, -32767, 32767),
        )
    read, label = script.Recordings(tmp_path)[0]
    torch.testing.assert_close(read, waveform.clamp(-1, 1), atol=1e-4, rtol=0)
    assert label == 12


def test_two_tones_tell_the_key(tmp_path):
    result = script.two_tones_tell_the_key_of_a_telephone(tmp_path, takes=2)
    assert collections.Counter(result["keys"]) == dict.fromkeys(
        "0123456789ABCD*#", 2
    )
    assert result["decoded"] == result["keys"]
    assert all(800 <= length < 3200 for length in result["lengths"])
    assert len(set(result["lengths"])) > 16
    assert result["waveforms"].shape == (32, max(result["lengths"]))
    # A second method: how much of each tone, by its sine and its cosine.
    for waveform, key in zip(result["waveforms"], result["keys"], strict=True):
        turns = torch.arange(len(waveform)) * 2 * math.pi / 8000
        power = {
            hertz: sum(
                ((waveform * wave).sum() ** 2).item()
                for wave in ((hertz * turns).sin(), (hertz * turns).cos())
            )
            for hertz in (697, 770, 852, 941, 1209, 1336, 1477, 1633)
        }
        pair = {"1": (697, 1209), "6": (770, 1477), "*": (941, 1209)}.get(key)
        if pair:
            assert set(sorted(power, key=power.get)[-2:]) == set(pair)
    # The nearest line of the spectrogram is at most 31.25 / 2 hertz away.
    low, high = result["tones of 5"]
    assert abs(low - 770) < 16 and abs(high - 1336) < 16


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [2, 3])
def test_a_stream(workers):
    came = script.a_stream_is_shared_out_among_its_workers(
        count=7, workers=workers
    )
    assert collections.Counter(came["as it is"]) == dict.fromkeys(
        range(7), workers
    )
    assert collections.Counter(came["in shares"]) == dict.fromkeys(range(7), 1)
    assert list(script.Numbers(4, True)) == [0, 1, 2, 3]  # without workers


def test_a_mapped_file():
    result = script.a_mapped_file_is_read_only_where_it_is_touched(
        rows=3000, columns=7, batch_size=5
    )
    assert result["size"] == 3000 * 7 * 4
    rows = result["rows"].tolist()
    assert len(set(rows)) == 5 and all(0 <= row < 3000 for row in rows)
    assert result["batch"].tolist() == [
        [7 * row + column for column in range(7)] for row in rows
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_one_seed_repeats_all_workers():
    runs = script.one_seed_repeats_all_workers(each=2, workers=3)
    (first, second), (again,) = runs.values()
    assert first == again
    assert {worker for worker, _, _ in first} == {0, 1, 2}
    drawn = [draw for _, draw, _ in first + second]
    assert len(set(drawn)) == 12
    # The very numbers of Python's generator for the seed 0, six times each.
    generator = script.random.Random(0)
    expected = {generator.random(): 6, generator.random(): 6}
    stored = collections.Counter(draw for _, _, draw in first + second)
    assert stored == expected


@pytest.mark.parametrize("start_method", METHODS)
def test_workers_under_every_start_method(start_method):
    times = script.workers_help_where_samples_wait(
        count=8, seconds=0.001, workers=1, start_method=start_method
    )
    assert list(times) == ["0 workers", "1 workers"]
    assert all(len(epochs) == 3 for epochs in times.values())
    assert min(times["0 workers"]) >= 8
    assert min(times["1 workers"]) >= 8


def test_more_workers_than_batches_leaves_some_without_work():
    times = script.workers_help_where_samples_wait(
        count=8, seconds=0.001, workers=2
    )
    assert list(times) == ["0 workers", "2 workers"]


def test_a_loader_is_slow_one_sample_at_a_time(digits):
    speeds = script.a_loader_is_slow_one_sample_at_a_time(digits, CPU)
    assert list(speeds) == [
        *("one at a time", "the same, ready", "__getitems__"),
        *("indexed on cpu", "a plain copy"),
    ]
    assert all(speed > 0 and math.isfinite(speed) for speed in speeds.values())


def test_sound_that_is_not_mono_is_named(tmp_path):
    script.Recordings.write(tmp_path / "00-a.wav", torch.zeros(4), 8000)
    with wave.open(str(tmp_path / "01-b.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
    recordings = script.Recordings(tmp_path)
    assert recordings[0][0].tolist() == [0] * 4
    with pytest.raises(ValueError, match="01-b.wav: not mono"):
        recordings[1]


def test_whole_batches_hold_each_image_once():
    images = torch.arange(50.0)[:, None, None, None].expand(50, 1, 2, 2)
    dataset = script.WholeBatches(images, torch.arange(50))
    loader = DataLoader(dataset, 8, shuffle=True, collate_fn=script.as_it_is)
    seen = []
    for batch, labels in loader:
        assert batch.shape == (len(labels), 1, 2, 2)
        assert batch[:, 0, 0, 0].tolist() == labels.tolist()
        seen += labels.tolist()
    assert sorted(seen) == list(range(50)) != seen


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_a_batch_travels(digits, half):
    result = script.a_batch_travels_while_the_device_computes(
        digits, CPU, half=half, batch_size=64
    )
    scores, computed = result["float32"], result["computed"]
    assert scores.shape == computed.shape == (64, 10)
    assert computed.dtype == (half or torch.float32)
    assert torch.equal(scores, computed) == (half is None)


def test_prefetching_changes_no_batch():
    batches = [[torch.tensor([n]), torch.tensor([-n])] for n in range(4)]
    for count in (0, 1, 4):
        came = list(script.Prefetched(batches[:count], CPU))
        assert came == batches[:count]
    # The next one is asked for before this one is handed out.
    taken = iter(batches)
    next(iter(script.Prefetched(taken, CPU)))
    assert len(list(taken)) == 2


def test_a_clock_must_wait():
    times = script.a_clock_must_wait_for_the_device(CPU, seconds=0.02, size=9)
    assert list(times) == ["a thread", "cpu"]
    ordered, done = times["a thread"]
    assert 0 <= ordered < done and done >= 0.018  # the sleep itself


def test_nested_batches():
    result = script.batches_keep_the_shape_of_their_samples(CPU)
    kinds = [batch.about["weight"].dtype for batch in result.values()]
    assert kinds == [torch.float64, torch.float32]
    for batch in result.values():
        assert type(batch) is script.Sample
        assert batch.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]
        assert [len(boxes) for boxes in batch.boxes] == [1, 2, 3]
        assert batch.about["name"] == ["p1", "p2", "p3"]
        assert batch.about["weight"].tolist() == [0.5, 0.5, 0.5]
        numbers, zeros = batch.about["place"]
        assert numbers.tolist() == [1, 2, 3] and zeros.tolist() == [0, 0, 0]


# The mistakes.


def test_mistakes_stop_the_loader():
    right = script.mistakes_stop_the_loader()
    assert right == {
        "pictures": (1, 1, 28, 28),
        "next": [0, 1, 2, 3],
        "unpack": [0, 1, 2, 3],
        "view": [(4, 6), (4, 6), (2, 6)],
    }


def test_mistakes_stop_image_text_and_sound():
    right = script.mistakes_stop_image_text_and_sound()
    assert right["stft"] == 256 // 2 + 1 and right["split"] == [8, 2]


def test_mistakes_wait_for_the_first_worker():
    output = script.mistakes_wait_for_the_first_worker()
    assert output["with the guard"] == "a worker started\n"
    assert "freeze_support" in output["without the guard"]


def test_mistakes_give_wrong_samples():
    silent = script.mistakes_give_wrong_samples()
    batch, order, pairs, split, places = silent.values()
    assert batch == (2, 6) and places == (1, 5)
    assert order[0] < order[1] - 0.1
    assert abs(pairs[0] - 0.1) < 0.06 and pairs[1] == 1  # luck is one in ten
    assert split in [(1000 + number, number) for number in range(1, 10)]


def test_mistakes_give_wrong_numbers():
    silent = script.mistakes_give_wrong_numbers()
    white, channels, sound, mean, sentences = silent.values()
    assert white == pytest.approx((255 / (2**63 - 1), 1))
    assert channels == (3, 1) and sound == (2**15, 1) and sentences == (5, 8)
    assert mean == ((0.5 + 0.5 + 1 + 3) / 4, (1 + 3) / 2)


# As a program.


@needs_mnist
def test_real_mnist_through_every_section_that_takes_it(command_line):
    names = (
        "ready_made_data_are_transformed_when_indexed",
        "a_folder_and_a_table_are_a_data_set",
        "bytes_become_normalized_tensors",
        "a_transform_moves_image_and_box_together",
        "a_loader_is_slow_one_sample_at_a_time",
        "a_batch_travels_while_the_device_computes",
    )
    flags = ("--data", "mnist", "--data-dir", str(MNIST), "--tiny", "--amp")
    status, output, errors = command_line(
        "start_dataloader", *flags, "--only", *names
    )
    assert (status, errors) == (0, "")
    assert "(60000, 28, 28)" in output and "1,000 images" in output
    assert "torch.bfloat16" in output
