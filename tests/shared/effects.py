"""What each parameter must change in a whole run: tests/soak/test_parameter_effects.py sees that it does."""

import pandas as pd

from shared.whole_runs import model_of, split_of

# each parameter at another value than its default, with what it must change
EFFECTS = [
    ({"EPOCHS": 1, "STRATEGY": "head", "SEED": 5, "SPLIT_SEED": 0, "AUGMENTATION": "none", "WORKERS": 1, "SEARCH_TRIALS": 0, "LABEL_ISSUES": "false"},
     lambda new, old, folder: new["epochs"] == 1 and not (folder / "trials.csv").exists()
     and new["trainable"] < new["parameters"] and new["split"] == old["split"]
     and (new["suspected_labels"]["why_off"], old["suspected_labels"]["why_off"]) == ("LABEL_ISSUES = False", None)
     and split_of(folder).equals(split_of(old["folder"])) and (model_of(folder)["recipe"]["seed"], model_of(old["folder"])["recipe"]["seed"]) == (5, 0)
     and "worker processes: 1" in (folder / "report.html").read_text()
     and "worker processes: 0" in (old["folder"] / "report.html").read_text()),
    ({"ARCHITECTURE": "efficientnet_lite0", "WEIGHTS": "imagenet", "EPOCHS": 3, "PRECISION": "float32",
      "AUGMENTATION": "strong", "DEVICE": "cpu", "BACKBONE_FACTOR": 0.5, "HEAD": "mlp:64:0.1", "HEAD_EPOCHS": 8, "SEARCH_TRIALS": 0, "LEARNING_RATE": 0.001},
     lambda new, old, folder: new["architecture"] == "efficientnet_lite0" and new["weights"] == "imagenet"
     and new["test"]["mean_class_accuracy"] > old["test"]["mean_class_accuracy"] and model_of(folder)["head"] == "mlp:64:0.1"
     and model_of(folder)["recipe"]["backbone_factor"] == 0.5 and len(list((folder / "features").iterdir())) == 2
     and (model_of(folder)["precision"], model_of(folder)["device"]) == ("float32", "cpu")),
    ({"ARCHITECTURE": "convnet5", "ARCHITECTURE_OPTIONS": "{'filters': 4, 'in_channels': 1}", "SEARCH_TRIALS": 5, "SEARCH_SAMPLER": "grid",
      "SEARCH_SPACE": "{'dense': [8, 16, 24], 'batch_size': [8, 16, 'choice']}", "SEARCH_EPOCHS": 2, "SEARCH_IMAGES": 18, "FINAL_SEEDS": 2,
      "STUDY_STORAGE": "<folder>/shared.log"},
     lambda new, old, folder: pd.read_csv(folder / "trials.csv")[["dense", "batch_size"]].to_numpy().tolist() == [
         [8, 8], [8, 16], [16, 8], [16, 16], [24, 8]] and (folder / "shared.log").exists() and not (folder / "study.log").exists()
     and [row["setting"] for row in new["noise_band"]] == ["best"] * 2 + ["runner-up"] * 2 + ["as they stand"] * 2 and new["search"]["score"] == pd.read_csv(folder / "trials.csv")["score"].max()
     and model_of(folder)["options"] == {"filters": 4, "in_channels": 1, "dense": new["search"]["best"]["dense"]}
     and new["weights"] == "random"),
    ({"COMPARE": "[{'STRATEGY': 'head', 'EPOCHS': 1}, {'ARCHITECTURE': 'convnet_gap'}]", "TRACKERS": "['tensorboard']", "SAMPLE_GRID": "[2, 4]",
      "SEARCH_TRIALS": 0, "SPLIT": "[60, 31, 31]", "IMAGE_SIZE": 48, "RANKED_CLASSES": "['sea']", "BATCH_SIZE": 10, "NEAR_DUPLICATES": "off",
      "IGNORE": "<folder>.csv"},
     lambda new, old, folder: [row["name"] for row in new["comparison"]] == ["timm/test_resnet, from scratch", "convnet_gap, from scratch"]
     and [row["epochs"] for row in new["comparison"]] == [1, 2] and list((folder / "tensorboard").iterdir()) != []
     and "8 test images drawn at random" in (folder / "report.html").read_text() and (folder / "figures" / "comparison.png").exists()
     and sum(new["split"].values()) == 121 and new["macs"] > old["macs"] and pd.isna(split_of(folder)["sea/00003.jpg"])
     and (new["leaks"]["near"], old["leaks"]["near"], old["near_duplicates"]["mode"], new["near_duplicates"]["mode"]) == (None, 0, "group", "off")
     and {path.name for path in (folder / "figures").glob("ranked*")} == {"ranked_sea.png"}),
    ({"OPTIMIZER": "sgd", "SCHEDULE": "constant", "WARMUP": 0, "LEARNING_RATE": 0.02, "EPOCHS": 25, "PATIENCE": 1, "PRECISION": "bfloat16",
      "WEIGHT_DECAY": 0.1, "LABEL_SMOOTHING": 0.2, "CLASS_WEIGHTS": "true", "BATCH_NORM": "frozen", "SEARCH_TRIALS": 0, "PROCESSES": 2, "SPLIT_SEED": 3},
     lambda new, old, folder: new["split"] == old["split"] and not split_of(folder).equals(split_of(old["folder"])) and model_of(folder)["settings"]["PROCESSES"] == 2 and pd.read_csv(folder / "history.csv")["lr"].tolist() == [0.02] * new["epochs"]
     and new["epochs"] == new["best_epoch"] + 1 < 25 and model_of(folder)["precision"] == "bfloat16"
     and model_of(folder)["recipe"] == {
         "epochs": 25, "optimizer": "sgd", "learning_rate": 0.02, "backbone_factor": 1.0, "weight_decay": 0.1,
         "schedule": "constant", "warmup": 0, "label_smoothing": 0.2, "class_weights": True,
         "batch_norm": "frozen", "patience": 1, "seed": 0}),
]
