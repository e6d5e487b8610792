"""Recurrent layers: scans whose steps are an LSTM, a GRU or a simple cell become ONNX's operators."""
