"""Models from other programs, and ours for them: conversion, ONNX, model cards, publication."""
