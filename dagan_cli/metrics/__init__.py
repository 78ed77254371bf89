"""Measures of image quality: PSNR, SSIM, LPIPS."""
