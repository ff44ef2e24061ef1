"""What an application holds, over both storages: no test here names the one it runs on."""
