"""Files in and out: pictures and video, as arrays with everything needed to write them back."""
