"""Import, export and publish models: conversion, ONNX, model cards, the Hub."""
