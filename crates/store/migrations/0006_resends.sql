-- The push whose content another one is sent again.
ALTER TABLE pushes ADD COLUMN resend_of INTEGER;
