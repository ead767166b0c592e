"""Claims of start_dataloader.py, each broken; the section must notice."""

BREAKINGS = [
    # section, a piece of its cell, what it is replaced by, the error if it is
    # no AssertionError
    #
    # Dataset and loader
    (
        "a_dataset_has_two_methods_and_a_dataloader_six_lines",
        "index**2",
        "index * 2",
    ),
    (
        "a_dataset_has_two_methods_and_a_dataloader_six_lines",
        "sampler=order)",
        "sampler=order[::-1])",
    ),
    (
        "mnist_and_fashion_mnist_are_one_line_each",
        "data[index]  # (1",
        "data[0]  # (1",
    ),
    (
        "mnist_and_fashion_mnist_are_one_line_each",
        "scale=True",
        "scale=False",
    ),
    (
        "default_collate_makes_lists_of_tuples_and_keeps_dicts",
        '"place": (5, 6)',
        '"place": (6, 5)',
    ),
    (
        "default_collate_makes_lists_of_tuples_and_keeps_dicts",
        "torch.ones(3)",
        "torch.zeros(3)",
    ),
    ("collate_fn_keeps_what_cannot_be_stacked", "(torch.ones(", "(torch.rand("),
    (
        "collate_fn_keeps_what_cannot_be_stacked",
        "list(boxes)",
        "[boxes[0], boxes[0]]",
    ),
    (
        "shuffle_draws_a_new_order_each_epoch",
        "shuffle=True, generator",
        "shuffle=False, generator",
    ),
    (
        "shuffle_draws_a_new_order_each_epoch",
        "    generator.manual_seed(0)\n",
        "",
    ),
    ("drop_last_leaves_out_the_smaller_batch", "drop_last=True)\n", ")\n"),
    (
        "drop_last_leaves_out_the_smaller_batch",
        "kept = DataLoader(numbers, ",
        "kept = DataLoader(numbers, drop_last=True, ",
    ),
    (
        "random_split_makes_train_validation_and_test",
        "self.transform(self.part[index])",
        "self.part[index]",
    ),
    (
        "random_split_makes_train_validation_and_test",
        "generator.manual_seed(0))",
        "generator.manual_seed(1))",
    ),
    (
        "a_split_by_group_keeps_each_person_on_one_side",
        "by_group = torch.isin(person, people[:3])",
        "by_group = torch.arange(120) % 4 == 0",
    ),
    (
        "a_split_by_group_keeps_each_person_on_one_side",
        "order = torch.randperm(120, generator=generator)",
        "order = torch.arange(120)",
    ),
    (
        "a_stratified_split_keeps_the_class_proportions",
        "members = (labels == label).nonzero().flatten()",
        "members = torch.arange(len(labels))",
    ),
    (
        "a_stratified_split_keeps_the_class_proportions",
        "torch.randperm(len(members), generator=generator)",
        "torch.arange(len(members))",
    ),
    (
        "a_stratified_split_keeps_the_class_proportions",
        "at_random.append(smile[order[:30]].sum().item())",
        "at_random.append(3)",
    ),
    (
        "weighted_random_sampler_balances_classes",
        "sampler=sampler)",
        "shuffle=True)",
    ),
    (
        "weighted_random_sampler_balances_classes",
        "(1 / counts)[labels]",
        "(1.0 * counts)[labels]",
    ),
    # Images of your own
    (
        "image_folder_takes_the_class_from_the_folder",
        '"dog", "rex.png"',
        '"cat", "rex.png"',
        "FileNotFoundError",
    ),
    (
        "image_folder_takes_the_class_from_the_folder",
        "[resize, ",
        "[",
        "RuntimeError",
    ),
    (
        "image_folder_takes_the_class_from_the_folder",
        "v2.Resize((32, 24))",
        "v2.Resize((24, 32))",
    ),
    (
        "exif_transpose_turns_a_photograph_upright",
        "image = ImageOps.exif_transpose(file)",
        "image = file.copy()",
    ),
    ("exif_transpose_turns_a_photograph_upright", "= 6  # the", "= 8  # the"),
    (
        "alpha_is_pasted_on_white",
        "on_white = np.array(read_image(path))",
        "on_white = np.array(Image.open(path).convert('RGB'))",
    ),
    ("alpha_is_pasted_on_white", "Image.open(path)", "read_image(path)"),
    (
        "sixteen_bits_are_stretched_to_eight",
        "np.array(read_image(path))[:, :, 0]",
        "np.array(Image.open(path)) // 256",
    ),
    ("sixteen_bits_are_stretched_to_eight", "// 256", "/ 256"),
    (
        "a_csv_of_labels_and_a_folder_are_a_dataset",
        "[numbers[label] for label in labels]",
        "[0 for label in labels]",
    ),
    (
        "a_csv_of_labels_and_a_folder_are_a_dataset",
        "image = read_image(self.paths[index])",
        "image = read_image(self.paths[0])",
    ),
    (
        "classes_are_shared_by_train_and_test",
        "classes=train.classes)",
        "classes=None)",
    ),
    ("classes_are_shared_by_train_and_test", '"10", "9"', '"10", "x9"'),
    (
        "image_list_is_read_once_before_training",
        "readable.append(index)",
        "readable.append(0)",
    ),
    (
        "image_list_is_read_once_before_training",
        ".size] += 1",
        ".size] = 1",
    ),
    (
        "image_list_is_read_once_before_training",
        "errors.append(str(error))",
        "errors.append('bad')",
    ),
    (
        "image_list_is_read_once_before_training",
        "Subset(dataset, readable)",
        "dataset",
        "OSError",
    ),
    (
        "mean_and_std_of_each_channel_come_from_a_loader",
        "- mean**2).sqrt()",
        "- mean**2)",
    ),
    (
        "mean_and_std_of_each_channel_come_from_a_loader",
        "total += batch.sum",
        "total = batch.sum",
    ),
    (
        "mean_and_std_of_each_channel_come_from_a_loader",
        "stds.append(batch.std(dim=(0, 2, 3)))",
        "stds.append(images.std(dim=(0, 2, 3)))",
    ),
    (
        "v2_normalize_gives_mean_0_and_std_1",
        "scale=True)(image)",
        "scale=False)(image)",
    ),
    (
        "v2_normalize_gives_mean_0_and_std_1",
        "std = images.std().item()",
        "std = images.var().item()",
    ),
    ("v2_moves_image_and_boxes_together", "p=1.0", "p=0.0"),
    (
        "v2_moves_image_and_boxes_together",
        "turn(flipped, flipped_boxes)",
        "turn(flipped), flipped_boxes",
    ),
    (
        "augmentation_makes_another_image_at_each_look",
        "augment(image)",
        "image",
    ),
    (
        "augmentation_makes_another_image_at_each_look",
        "        for _ in range(5):\n",
        "        for _ in range(5):\n            torch.manual_seed(0)\n",
    ),
    # Tables and text
    (
        "normalize_test_data_by_the_training_statistics",
        "train.mean, train.std)",
        "None, None)",
    ),
    (
        "normalize_test_data_by_the_training_statistics",
        "torch.where(std > 1e-6 * mean.abs(), std, 1.0)",
        "std.clamp(min=1e-6)",
    ),
    (
        "normalize_test_data_by_the_training_statistics",
        "classes.index(cell)",
        "1 - classes.index(cell)",
    ),
    (
        "a_folder_of_texts_gives_text_and_label",
        "classes or sorted(names)",
        "sorted(names)",
    ),
    (
        "a_folder_of_texts_gives_text_and_label",
        "sorted(names)",
        "sorted(names)[::-1]",
    ),
    (
        "a_folder_of_texts_gives_text_and_label",
        'encoding="utf-8-sig"',
        'encoding="latin-1"',
    ),
    (
        "a_tokenizer_for_any_script_asks_unicode",
        'in "LMN"',
        'in "LN"',
    ),
    (
        "a_tokenizer_for_any_script_asks_unicode",
        'unicodedata.normalize("NFC", text.casefold())',
        "text.casefold()",
    ),
    (
        "a_vocabulary_comes_from_training_texts_alone",
        "vocabulary = Vocabulary(train)",
        "vocabulary = Vocabulary([*train, test, test])",
    ),
    (
        "a_vocabulary_comes_from_training_texts_alone",
        "count >= minimum",
        "count > 0",
    ),
    (
        "pad_sequence_pads_texts_and_a_mask_tells_where",
        ", dtype=torch.long)",
        ")",
    ),
    (
        "pad_sequence_pads_texts_and_a_mask_tells_where",
        "< lengths[:, None]",
        "<= lengths[:, None]",
    ),
    (
        "a_batch_sampler_of_similar_lengths_saves_padding",
        "torch.tensor(lengths).argsort()",
        "torch.arange(len(lengths))",
    ),
    (
        "a_batch_sampler_of_similar_lengths_saves_padding",
        "in torch.randperm(len(self.batches))",
        "in range(len(self.batches))",
    ),
    (
        "pack_padded_sequence_gives_the_true_last_state",
        "gru(packed_batch)",
        "gru(batch)",
    ),
    (
        "pack_padded_sequence_gives_the_true_last_state",
        "torch.tensor([5, 2])",
        "torch.tensor([5, 3])",
    ),
    (
        "next_token_windows_have_y_one_further_than_x",
        "torch.from_numpy(window[1:])",
        "torch.from_numpy(window[:-1])",
    ),
    (
        "next_token_windows_have_y_one_further_than_x",
        "start = index * self.length",
        "start = 0",
    ),
    (
        "memmap_reads_one_window_of_a_large_file",
        'tokens = np.memmap(path, np.uint16, mode="r")',
        'tokens = np.memmap(path, np.uint16, mode="r+")',
    ),
    (
        "memmap_reads_one_window_of_a_large_file",
        "x, y = dataset[123]",
        "np.fromfile(path, np.uint16); x, y = dataset[123]",
    ),
    (
        "memmap_reads_one_window_of_a_large_file",
        "vars(dataset)",
        "np.fromfile(path, np.uint16)",
    ),
    # Sound
    (
        "wav_of_8_16_24_32_bits_and_float_is_one_waveform",
        "raw = raw ^ 0x80",
        "raw = raw",
    ),
    (
        "wav_of_8_16_24_32_bits_and_float_is_one_waveform",
        "high[:, 4 - width :] = raw",
        "high[:, :width] = raw",
    ),
    (
        "stereo_becomes_mono_by_the_mean_of_its_channels",
        "mono = samples.mean(dim=1)",
        "mono = samples[:, 0]",
    ),
    (
        "stereo_becomes_mono_by_the_mean_of_its_channels",
        "wrong = samples.flatten()",
        "wrong = samples.mean(dim=1)",
    ),
    (
        "resample_before_files_of_two_rates_share_a_batch",
        "resample(high, 16_000, 8_000)",
        "high[::2]",
    ),
    (
        "resample_before_files_of_two_rates_share_a_batch",
        "resampled = resample(tone, 16_000, 8_000)",
        "resampled = tone",
    ),
    (
        "resample_before_files_of_two_rates_share_a_batch",
        " * (count / len(waveform))",
        "",
    ),
    (
        "stft_shows_the_two_tones_of_a_telephone_key",
        "math.pi * 1336",
        "math.pi * 1400",
    ),
    (
        "stft_shows_the_two_tones_of_a_telephone_key",
        " * (seconds < 0.1)",
        "",
    ),
    (
        "a_folder_of_recordings_is_padded_with_silence",
        "resample(samples.mean(dim=1), rate, self.rate)",
        "samples.mean(dim=1)",
    ),
    (
        "a_folder_of_recordings_is_padded_with_silence",
        "samples.mean(dim=1)",
        "samples[:, 0]",
    ),
    (
        "a_folder_of_recordings_is_padded_with_silence",
        "pad_sequence(sounds, batch_first=True)",
        "pad_sequence(sounds, batch_first=True, padding_value=0.5)",
    ),
    (
        "a_folder_of_recordings_is_padded_with_silence",
        'p.suffix.lower() == ".wav"',
        'p.suffix == ".wav"',
    ),
    # Workers and speed
    (
        "an_iterable_dataset_is_shared_among_its_workers",
        "shared=True",
        "shared=False",
    ),
    (
        "an_iterable_dataset_is_shared_among_its_workers",
        "range(worker.id, self.count, worker.num_workers)",
        "range(0 if worker.id else self.count)",
    ),
    (
        "a_generator_seeds_torch_and_numpy_in_every_worker",
        "Draws(), generator=generator, **options)\n    first",
        "Draws(), **options)\n    first",
    ),
    (
        "a_generator_seeds_torch_and_numpy_in_every_worker",
        "self.kept.random()",
        "np.random.rand()",
    ),
    (
        "a_generator_seeds_torch_and_numpy_in_every_worker",
        "    second = torch.cat(list(loader))\n",
        "    second = first\n",
    ),
    (
        "a_generator_seeds_torch_and_numpy_in_every_worker",
        "default_rng(worker.seed)",
        "default_rng(worker_id)",
    ),
    (
        "a_generator_seeds_torch_and_numpy_in_every_worker",
        "default_rng(worker.seed)",
        "default_rng()",
    ),
    (
        "an_error_in_a_worker_comes_with_its_traceback",
        "num_workers=1",
        "num_workers=0",
    ),
    (
        "an_error_in_a_worker_comes_with_its_traceback",
        "if index == 2",
        "if index == 1",
    ),
    (
        "a_killed_worker_has_a_cause",
        "signal.SIGKILL",
        "signal.SIGTERM",
    ),
    (
        "a_killed_worker_has_a_cause",
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
        "    raise RuntimeError('staged')\n",
    ),
    (
        "num_workers_is_found_by_timing_real_decoding",
        "persistent_workers=workers > 0",
        "persistent_workers=False",
    ),
    (
        "num_workers_is_found_by_timing_real_decoding",
        "self.paths[index]",
        "self.paths[0]",
    ),
    (
        "num_workers_is_found_by_timing_real_decoding",
        "num_workers=workers,",
        "num_workers=min(workers, 1),",
    ),
    (
        "getitems_loads_a_batch_in_one_piece",
        "images.index_select(0, which), labels[which]",
        "images[:len(which)], labels[which]",
    ),
    (
        "getitems_loads_a_batch_in_one_piece",
        "made = pixels[:, None] / 255",
        "made = pixels[:, None] / 256",
    ),
    (
        "getitems_loads_a_batch_in_one_piece",
        "DataLoader(whole, batch_size=250, collate_fn=as_it_is)",
        "DataLoader(TensorDataset(made, labels), batch_size=250)",
    ),
    (
        "getitems_loads_a_batch_in_one_piece",
        "labels[which]",
        "labels[: len(which)]",
    ),
    (
        "pin_memory_lets_a_copy_run_beside_the_work",
        'pin_memory=device.type == "cuda"',
        'pin_memory=device.type != "cuda"',
    ),
    (
        "pin_memory_lets_a_copy_run_beside_the_work",
        "brightness += ",
        "brightness = ",
    ),
    # Mistakes
    (
        "mistakes_in_a_dataset_stop_the_loader",
        "def __get_item__",
        "def __getitem__",
    ),
    (
        "mistakes_in_a_dataset_stop_the_loader",
        "        torch.zeros(3)\n\n",
        "        return torch.zeros(3)\n\n",
    ),
    ("mistakes_in_the_use_of_a_loader", "DataLoader([], ", "DataLoader([1], "),
    (
        "mistakes_in_the_use_of_a_loader",
        "        next(loader)\n",
        "        next(iter(loader))\n",
    ),
    ("mistakes_with_options_of_a_loader", "[7, 2]", "[7, 3]"),
    (
        "mistakes_with_options_of_a_loader",
        "sampler=order, shuffle=True",
        "sampler=order, shuffle=False",
    ),
    (
        "mistakes_with_images_text_and_sound",
        "panel.imshow(image.numpy())",
        "panel.imshow(image[0].numpy())",
    ),
    (
        "mistakes_with_images_text_and_sound",
        "nn.Embedding(10, 4)",
        "nn.Embedding(11, 4)(words); nn.Embedding(11, 4)",
    ),
    (
        "mistakes_with_a_lambda_under_spawn",
        "collate_fn=lambda batch: batch, **spawn",
        "collate_fn=torch.stack",
    ),
    ("mistakes_with_a_lambda_under_spawn", "b: len(b), **", "b: b, **"),
    (
        "mistakes_without_a_main_guard_under_spawn",
        "path.write_text(wrong)",
        "path.write_text(right)",
    ),
    (
        "mistakes_without_a_main_guard_under_spawn",
        "path.write_text(right)",
        "path.write_text(wrong)",
    ),
    (
        "mistakes_that_see_only_a_part_of_the_data",
        "batch = next(iter(loader))",
        "batch = list(loader)[-1]",
    ),
    (
        "mistakes_that_see_only_a_part_of_the_data",
        "    for batch in loader:\n",
        "    for batch in [*loader][:1] * 3:\n",
    ),
    (
        "mistakes_with_data_sorted_by_class",
        "shuffle=True, generator",
        "generator",
    ),
    (
        "mistakes_with_data_sorted_by_class",
        "        optimizer.step()\n",
        "",
    ),
    ("mistakes_with_predictions_in_shuffled_order", "shuffle=True, ", ""),
    (
        "mistakes_with_predictions_in_shuffled_order",
        "(predictions == torch.cat(targets))",
        "(predictions == labels)",
    ),
    (
        "mistakes_with_manual_seed_in_getitem",
        "RandomPlaces(seeded=True)",
        "RandomPlaces(seeded=False)",
    ),
    (
        "mistakes_with_manual_seed_in_getitem",
        "RandomPlaces(seeded=False)",
        "RandomPlaces(seeded=True)",
    ),
    (
        "mistakes_with_the_range_of_pixels_and_sound",
        "right = scale(white.byte()).max().item()",
        "right = wrong",
    ),
    (
        "mistakes_with_the_range_of_pixels_and_sound",
        "right = samples / 32768",
        "right = samples.float()",
    ),
    (
        "mistakes_with_padding_and_batch_first",
        "(values * mask).sum(dim=1) / lengths",
        "values.mean(dim=1)",
    ),
    (
        "mistakes_with_padding_and_batch_first",
        "torch.arange(4) < ",
        "torch.arange(4) <= ",
    ),
    ("mistakes_with_padding_and_batch_first", ", batch_first=True)", ")"),
]
