"""The folder of a public dataset in, a manifest out. One file for each dataset."""
