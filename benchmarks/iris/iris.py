"""A classifier of scikit-learn as an ONNX file, and data to test it on."""

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

x, y = load_iris(return_X_y=True)
x = x.astype(np.float32)
train_x, test_x, train_y, test_y = train_test_split(
    x, y, test_size=0.4, random_state=0, stratify=y
)
model = make_pipeline(
    StandardScaler(), MLPClassifier((16, 16), max_iter=2000, random_state=0)
)
model.fit(train_x, train_y)
print("test accuracy", model.score(test_x, test_y))
onnx = to_onnx(model, train_x[:1], options={"zipmap": False})
with open("iris.onnx", "wb") as file:
    file.write(onnx.SerializeToString())
np.savez("iris.npz", x=test_x, y=test_y, train_x=train_x, train_y=train_y)
